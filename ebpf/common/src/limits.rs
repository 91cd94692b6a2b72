//! The named maximum of every map. Reaching one is an error at the writer and a count at the program.
//!
//! The figures carry 50,000 Services on one node. Hash maps allocate elements as they are used; what is paid from the start is
//! 16 bytes a bucket. Arrays and LRU maps are paid in full, hence the smaller figures there.
//!
//! The tables made from the API's objects come in sizes, from [`SCALE_MAX`] down, each half of the one above: few
//! Services then share few cache lines and little memory. When one is full, all are made anew a size up.

/// The largest scale; a table has its maximum there, and 2^([`SCALE_MAX`] - scale) times less at a smaller one.
pub const SCALE_MAX: u32 = 5;

/// A table's size at a scale.
#[inline(always)]
pub const fn at_scale(entries_max: u32, scale: u32) -> u32 {
    entries_max >> (SCALE_MAX - scale)
}

/// Buckets of the table of IPv4 frontends at a scale, as a power of two.
#[inline(always)]
pub const fn buckets4_log2(scale: u32) -> u32 {
    BUCKETS4_MAX.ilog2() - SCALE_MAX + scale
}

/// IPv4 frontends that the table takes at a scale before it is made anew a size up: five eighths of its entries, where one
/// in ten buckets overflows.
pub const fn frontends4(scale: u32) -> u32 {
    if scale == SCALE_MAX { FRONTENDS4_MAX } else { (1 << buckets4_log2(scale)) / 2 * 5 }
}

/// Frontends (address, port, protocol) of IPv4 Services: 50,000 with one port each, and room.
pub const FRONTENDS4_MAX: u32 = 65_536;
/// Buckets of the table of IPv4 frontends, a cache line of four entries each (2 MiB): half full at most. A power of two.
pub const BUCKETS4_MAX: u32 = 32_768;
/// How many buckets after its own a frontend may lie, when its own and those between are full.
pub const REACH_MAX: u32 = 7;
/// Frontends of IPv6 Services; rarer, and each is dearer.
pub const FRONTENDS6_MAX: u32 = 16_384;
/// Backend slots of IPv4 Services, 8 bytes each (2 MiB). A power of two: the allocator halves it.
pub const BACKENDS4_MAX: u32 = 262_144;
/// Backend slots of IPv6 Services, 20 bytes each (1.5 MiB with the kernel's rounding). A power of two.
pub const BACKENDS6_MAX: u32 = 65_536;
/// Backends of one Service port in one family; a power of two, and less than the slots of either family.
pub const BACKENDS_PER_SERVICE_MAX: u32 = 16_384;
/// Connected sockets that have a slot of their own, 64 bytes each (2 MiB). A power of two: the cookie is masked.
pub const CONNECTIONS_MAX: u32 = 32_768;
/// Connected sockets whose slot was another's: with those in slots, all that are connected at the same time.
pub const CONNECTIONS_SPILLED_MAX: u32 = 65_536;
/// Flows of unconnected UDP sockets (socket, backend, port); the least recently used goes first.
pub const DATAGRAMS_MAX: u32 = 16_384;
/// Clients (network namespace, Service) held to their backend; the least recently used goes first.
pub const AFFINITY_MAX: u32 = 8_192;
/// Entries for backends of Services with session affinity, over all such Services. Half of them are granted: in a change the
/// new ones come before the old ones go.
pub const AFFINITY_MEMBERS_MAX: u32 = 32_768;

const _: () =
    assert!(at_scale(BUCKETS4_MAX, 0) > REACH_MAX, "a search does not come round to where it began");
const _: () = assert!(BACKENDS4_MAX.is_power_of_two() && BACKENDS6_MAX.is_power_of_two());
const _: () = assert!(BUCKETS4_MAX.is_power_of_two() && FRONTENDS4_MAX <= BUCKETS4_MAX * 2);
const _: () =
    assert!(BACKENDS4_MAX <= 1 << 24 && BACKENDS_PER_SERVICE_MAX < 1 << 20, "they fit a target's word");
const _: () = assert!(CONNECTIONS_MAX.is_power_of_two());
const _: () = assert!(BACKENDS_PER_SERVICE_MAX.is_power_of_two());
const _: () = assert!(BACKENDS_PER_SERVICE_MAX < BACKENDS4_MAX && BACKENDS_PER_SERVICE_MAX < BACKENDS6_MAX);
