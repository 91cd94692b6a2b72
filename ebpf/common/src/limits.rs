//! The named maximum of every map. Reaching one is an error at the writer and a count at the program.
//!
//! The figures carry 50,000 Services on one node. Hash maps allocate elements as they are used; what is paid from the start is
//! 16 bytes a bucket. Arrays and LRU maps are paid in full, hence the smaller figures there.
//!
//! The tables made from the API's objects come in sizes, from [`SCALE_MAX`] down, each half of the one above: few
//! Services then share few cache lines and little memory. When one is full, all are made anew a size up.

/// The largest scale; a table has its maximum there, and 2^([`SCALE_MAX`] - scale) times less at a smaller one.
pub const SCALE_MAX: u32 = 6;

/// A table's size at a scale.
#[inline(always)]
pub const fn at_scale(entries_max: u32, scale: u32) -> u32 {
    entries_max >> (SCALE_MAX - scale)
}

/// Shards of the table of IPv4 frontends at a scale, as a power of two.
#[inline(always)]
pub const fn shards4_log2(scale: u32) -> u32 {
    SHARDS4_MAX.ilog2() - SCALE_MAX + scale
}

/// Bits of the set of prefixes at a scale, as a power of two.
#[inline(always)]
pub const fn prefix_bits4_log2(scale: u32) -> u32 {
    (PREFIX_WORDS4_MAX * u64::BITS).ilog2() - SCALE_MAX + scale
}

/// IPv4 frontends that the table takes at a scale before it is made anew a size up: three eighths of its lines, where four in
/// five frontends lie in their own line, and a changed one finds another near.
pub const fn frontends4(scale: u32) -> u32 {
    if scale == SCALE_MAX { FRONTENDS4_MAX } else { at_scale(SHARDS4_MAX, scale) * SHARD_LINES / 8 * 3 }
}

/// Frontends (address, port, protocol) of IPv4 Services: 50,000 with one port each, and room.
pub const FRONTENDS4_MAX: u32 = 65_536;
/// Shards of the table of IPv4 frontends, 32 KiB each (16 MiB, from 48,385 frontends on). A power of two.
pub const SHARDS4_MAX: u32 = 512;
/// Lines of a shard, 64 bytes each: what is left of 32 KiB beside 512 bytes for the kernel's head of an array (312 in 6.18).
/// The kernel takes the memory of such an array from its direct map, whose pages are large, and that of a larger one from
/// pages of 4 KiB (`bpf_map_area_alloc`): measured, a line there costs a connection 0.14 us more.
pub const SHARD_LINES: u32 = (32_768 - 512) / 64;
/// Words of the set of prefixes of Services' addresses, 64 bits each. A power of two. The eight of the smallest scale
/// are a cache line, and say yes to one in thirty foreign prefixes for the sixteen of a /12.
pub const PREFIX_WORDS4_MAX: u32 = 512;
/// How many lines after its own a frontend may lie, when its own and those between are taken. In a table as full
/// as it is meant to be, of 129,024 lines and hashed by chance, one of 3,000 has a frontend further off: then it grows.
pub const REACH_MAX: u32 = 31;
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
/// Pods of this node whose sockets are not translated; elements are allocated when used.
pub const BYPASS_MAX: u32 = 4_096;
/// Rows of totals (frontend, backend, epoch) in use at the same time, 1 KiB each; elements are allocated when used (8 MiB at most).
pub const TOTALS_MAX: u32 = 8_192;
/// Bytes of the flow stream's ring. A power of two, and a multiple of the largest page (64 KiB).
pub const FLOWS_BYTES: u32 = 262_144;

/// Addresses of this node's pods, and of the node.
pub const ENDPOINTS_MAX: u32 = 4_096;
/// Entries of established flows of the per-packet programs, two a flow.
pub const CONNTRACK_MAX: u32 = 262_144;
/// Entries of flows without an answer, two a flow; the least recently used go first. Paid in full: 2 MiB.
pub const CONNTRACK_NEW_MAX: u32 = 16_384;
/// Datagrams in fragments at the same time; the least recently used goes first.
pub const FRAGMENTS_MAX: u32 = 1_024;
/// Addresses of Services, which answer to ICMP echo.
pub const ADDRESSES_MAX: u32 = 65_536;
/// Pods of a node with a bound of what they send.
pub const PACES_MAX: u32 = 4_096;
/// Devices that lead to other nodes through something that wraps packets.
pub const TUNNELS_MAX: u32 = 16;
/// Load balancers' addresses for which the node answers on its wire.
pub const ANNOUNCED_MAX: u32 = 4_096;
/// Clients by address held to their backend; the least recently used goes first.
pub const CLIENTS_MAX: u32 = 8_192;
/// Frontends reached from outside: node ports on each address of the node, external and load balancer addresses.
pub const EXTERNALS_MAX: u32 = 16_384;
/// Backend slots of such frontends, over all of them.
pub const EXTERNAL_BACKENDS_MAX: u32 = 65_536;
/// Words of the tables that spread flows over their backends, four entries each, over all such frontends (4 MiB): 8,322 Services
/// of up to five backends, or 127 of the largest.
pub const MAGLEV_WORDS_MAX: u32 = 1 << 19;
/// Lines of flows that are known at the uplink's wire, 64 bytes and three flows each, of IPv6 one, unless the node is told otherwise
/// (4 MiB a family). A power of two.
pub const KNOWN_LINES: u32 = 1 << 16;
/// The most lines that a node may be told: those of a million and a half flows (32 MiB).
pub const KNOWN_LINES_MAX: u32 = 1 << 19;
/// Lines of IPv6 on a node without an address of it: those of one flow, as the map has to be there.
pub const KNOWN6_LINES_MIN: u32 = crate::wire::LINES6;
/// Backends whose way is remembered, on each CPU. A power of two.
pub const HOPS_MAX: u32 = 4_096;
/// Entries for backends of such frontends with session affinity.
pub const EXTERNAL_MEMBERS_MAX: u32 = 16_384;
/// Address ranges: `loadBalancerSourceRanges` of all such frontends, and those that are never masqueraded.
pub const RANGES_MAX: u32 = 16_384;
/// Ranges of addresses with their classes: of pods that policies of this node's pods name, and of blocks. Half of them are
/// granted: in a change the new ones come before the old ones go.
pub const PEERS_MAX: u32 = 131_072;
/// Entries that let a group and a class have connections. Half of them are granted, as above.
pub const ALLOWED_MAX: u32 = 262_144;
/// Connections of policed pods that were answered.
pub const JUDGED_MAX: u32 = 131_072;
/// Connections of policed pods that were not answered yet; the least recently used go first. Paid in full: 1.5 MiB.
pub const JUDGED_NEW_MAX: u32 = 16_384;

const _: () = assert!(HOPS_MAX.is_power_of_two() && KNOWN_LINES.is_power_of_two());
const _: () = assert!(SHARD_LINES > REACH_MAX, "a search does not come round to where it began");
const _: () = assert!(REACH_MAX <= u8::MAX as u32, "it fits a byte of a line");
const _: () = assert!(shards4_log2(0) > 0 && FRONTENDS4_MAX <= SHARDS4_MAX * SHARD_LINES / 8 * 3);
const _: () = assert!(BACKENDS4_MAX.is_power_of_two() && BACKENDS6_MAX.is_power_of_two());
const _: () = assert!(SHARDS4_MAX.is_power_of_two() && PREFIX_WORDS4_MAX.is_power_of_two());
const _: () =
    assert!(BACKENDS4_MAX <= 1 << 24 && BACKENDS_PER_SERVICE_MAX < 1 << 20, "they fit a target's word");
const _: () = assert!(CONNECTIONS_MAX.is_power_of_two());
const _: () = assert!(BACKENDS_PER_SERVICE_MAX.is_power_of_two());
const _: () = assert!(BACKENDS_PER_SERVICE_MAX < BACKENDS4_MAX && BACKENDS_PER_SERVICE_MAX < BACKENDS6_MAX);
