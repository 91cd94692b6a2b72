//! What the programs measure: totals by frontend and backend, the control word, the events of the flow stream.
//!
//! A connection is measured in its own record ([`crate::value::Connection`]), whose cache line connect() has touched
//! anyway; only when it ends is it added to the totals. Until then the daemon reads it from the record.
//!
//! **Epochs.** Totals are kept by frontend, not by Service, so that connect() needs to know nothing more of a Service than
//! its address. An address may pass from one Service to the next: then the daemon begins a new epoch
//! ([`Control::epoch`]) before it programs the next one. A connection remembers the epoch in which it was made, and is
//! counted under it however late it ends.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::net::{Address6, Port};

/// Nanoseconds of a tick, as a power of two: 64 ns. 32 bits of ticks are 274 s, longer than a connect() can take
/// (`tcp_syn_retries` of 6 gives up after 127 s).
pub const TICK_LOG2: u32 = 6;
/// Nanoseconds in the unit of [`crate::value::Connection::established`], as a power of two: 1.05 ms.
pub const SINCE_LOG2: u32 = 20;

/// Every power of two from [`BUCKETS_FIRST_LOG2`] on is divided in so many equal buckets, as a power of two.
pub const BUCKETS_PER_OCTAVE_LOG2: u32 = 2;
/// Below this many ticks, as a power of two (4.1 us), all are in the first bucket.
pub const BUCKETS_FIRST_LOG2: u32 = 6;
/// From this many ticks, as a power of two (17.2 s), all are in the last bucket.
pub const BUCKETS_LAST_LOG2: u32 = 28;
/// Buckets of a histogram.
pub const BUCKETS: u32 = ((BUCKETS_LAST_LOG2 - BUCKETS_FIRST_LOG2) << BUCKETS_PER_OCTAVE_LOG2) + 2;

/// The bucket of a time.
#[inline(always)]
pub const fn bucket(ticks: u32) -> u32 {
    if ticks >> BUCKETS_FIRST_LOG2 == 0 {
        return 0;
    }
    if ticks >> BUCKETS_LAST_LOG2 != 0 {
        return BUCKETS - 1;
    }
    let octave = ticks.ilog2();
    let within = ticks >> (octave - BUCKETS_PER_OCTAVE_LOG2) & ((1 << BUCKETS_PER_OCTAVE_LOG2) - 1);
    1 + ((octave - BUCKETS_FIRST_LOG2) << BUCKETS_PER_OCTAVE_LOG2) + within
}

/// Where a bucket begins, in nanoseconds; it ends where the next one begins, and the last one never.
pub const fn bucket_start_ns(bucket: u32) -> u64 {
    if bucket == 0 {
        return 0;
    }
    let (octave, within) =
        ((bucket - 1) >> BUCKETS_PER_OCTAVE_LOG2, (bucket - 1) & ((1 << BUCKETS_PER_OCTAVE_LOG2) - 1));
    let quarters = (1 << BUCKETS_PER_OCTAVE_LOG2) + within as u64;
    (quarters << (octave + BUCKETS_FIRST_LOG2) >> BUCKETS_PER_OCTAVE_LOG2) << TICK_LOG2
}

/// Whose totals they are.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, FromBytes, Immutable, IntoBytes, KnownLayout,
)]
pub struct Row {
    /// What clients asked for; IPv4 in mapped form.
    pub frontend: Address6,
    /// Where they were sent; IPv4 in mapped form; all zero where there was no backend.
    pub backend: Address6,
    /// Port of the frontend.
    pub frontend_port: Port,
    /// Port of the backend.
    pub backend_port: Port,
    /// The epoch in which they connected, host order.
    pub epoch: u32,
    /// IANA protocol number of the frontend.
    pub protocol: u8,
    /// One of [`Kind`].
    pub kind: u8,
    /// Always zero.
    pub pad: u16,
}

/// Who writes a row.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Kind {
    /// The programs add to it, at any time.
    Counted = 0,
    /// The daemon's own, one a frontend and epoch: whose the frontend was ([`Totals::owner`]), and what was in rows of backends
    /// that are gone.
    Kept = 1,
}

impl Row {
    /// Where programs count what does not fit any more. The daemon makes it before it attaches anything.
    pub const OTHER: Self = Self {
        frontend: Address6([0; 4]),
        backend: Address6([0; 4]),
        frontend_port: Port(0),
        backend_port: Port(0),
        epoch: 0,
        protocol: 0,
        kind: Kind::Counted as u8,
        pad: 0,
    };
}

/// Sums over all ended connections of a row. Programs add atomically, each field by itself.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Totals {
    /// Connections that were established and have ended.
    pub ended: u64,
    /// connect() calls that were sent to the backend and whose socket was closed without ever being established.
    pub failed: u64,
    /// connect() and sendto() calls refused because the Service had no backend.
    pub refused: u64,
    /// Of the ended: by a reset from the other side, or because it did not answer any more.
    pub resets: u64,
    /// Of the ended: by a reset from the client, which closed with unread data or asked for it (`SO_LINGER` 0).
    pub aborts: u64,
    /// Segments sent again.
    pub retransmits: u64,
    /// Bytes that the other side acknowledged.
    pub sent_bytes: u64,
    /// Bytes that the client received.
    pub received_bytes: u64,
    /// Sum of the smoothed round trip times at the end, microseconds.
    pub srtt_us: u64,
    /// Sum of how long they lasted, in units of 2^[`SINCE_LOG2`] ns.
    pub lasted: u64,
    /// Sum of how long connect() took, ticks.
    pub connect: u64,
    /// Of a row of [`Kind::Kept`] alone: a hash of the Service port's name.
    pub owner: u64,
    /// How long connect() took: so many by [`bucket`].
    pub histogram: [u64; BUCKETS as usize],
}

impl Totals {
    /// Of no connection.
    pub const NONE: Self = Self {
        ended: 0,
        failed: 0,
        refused: 0,
        resets: 0,
        aborts: 0,
        retransmits: 0,
        sent_bytes: 0,
        received_bytes: 0,
        srtt_us: 0,
        lasted: 0,
        connect: 0,
        owner: 0,
        histogram: [0; BUCKETS as usize],
    };
}

/// What the daemon tells the programs, one word each.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Control {
    /// Grows by one whenever an address passes to another Service.
    pub epoch: u32,
    /// 0 when nobody listens; else one socket in so many is told of, a power of two.
    pub sample: u32,
    /// Not 0 while [`crate::layout::BYPASS`] may hold anything. Here, as a connection to a Service reads this line anyway.
    pub bypass: u32,
    /// Fills it to a cache line.
    pub pad: [u32; 13],
}

/// What happened to a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum What {
    /// Established.
    Opened = 1,
    /// Ended in order.
    Closed = 2,
    /// Ended by a reset from the other side, or by its silence.
    Reset = 3,
    /// Ended by a reset from the client.
    Aborted = 4,
    /// Given up before it was established.
    Failed = 5,
    /// Refused: the Service has no backend.
    Refused = 6,
    /// A packet dropped, as no network policy lets the client ask. Its row has no backend, and where it was to as the frontend.
    DeniedOut = 7,
    /// As above, as none lets anybody ask the server.
    DeniedIn = 8,
}

impl What {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Opened,
        Self::Closed,
        Self::Reset,
        Self::Aborted,
        Self::Failed,
        Self::Refused,
        Self::DeniedOut,
        Self::DeniedIn,
    ];
}

/// An event of the flow stream.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Flow {
    /// The socket's cookie; 0 of one that was refused, nothing that means anything of one that was denied.
    pub cookie: u64,
    /// Bytes acknowledged, at the end.
    pub sent_bytes: u64,
    /// Bytes received, at the end.
    pub received_bytes: u64,
    /// Whose.
    pub row: Row,
    /// The client's address, where known; IPv4 in mapped form.
    pub client: Address6,
    /// How long connect() took, ticks.
    pub connect: u32,
    /// How long the connection lasted, in units of 2^[`SINCE_LOG2`] ns.
    pub lasted: u32,
    /// Smoothed round trip time, microseconds.
    pub srtt_us: u32,
    /// Segments sent again.
    pub retransmits: u32,
    /// The client's port.
    pub client_port: Port,
    /// One of [`What`].
    pub what: u8,
    /// Always zero.
    pub pad: [u8; 9],
}

const _: () = assert!(size_of::<Row>() == 44 && align_of::<Row>() == 4);
// With its key and the kernel's 48 bytes before it, an element fits the allocator's class of 1024.
const _: () = assert!(size_of::<Totals>() == 816 && 48 + 48 + size_of::<Totals>() <= 1024);
const _: () = assert!(size_of::<Control>() == 64);
const _: () = assert!(size_of::<Flow>() == 112 && align_of::<Flow>() == 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_the_bucket_that_begins_at_or_before_it() {
        let times = (0..32)
            .flat_map(|log2| [0, 1, 2, 3].map(|more| (1_u32 << log2).saturating_add(more << log2 >> 2)));
        for ticks in times.chain([0, 1, u32::MAX]) {
            let (bucket, ns) = (bucket(ticks), u64::from(ticks) << TICK_LOG2);
            assert!(bucket_start_ns(bucket) <= ns, "{ticks} in {bucket}");
            assert!(bucket == BUCKETS - 1 || ns < bucket_start_ns(bucket + 1), "{ticks} in {bucket}");
        }
    }

    #[test]
    fn buckets_are_a_quarter_of_their_start_wide_at_most_and_cover_what_connect_can_take() {
        for bucket in 1..BUCKETS - 1 {
            let (start, end) = (bucket_start_ns(bucket), bucket_start_ns(bucket + 1));
            assert!(end > start && (end - start) * 4 <= start, "{bucket}: {start} to {end}");
        }
        assert_eq!((bucket_start_ns(1), bucket_start_ns(BUCKETS - 1)), (4_096, 1 << 34));
    }
}
