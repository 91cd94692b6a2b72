//! Sums over connections, and how they are added up. Pure.

use keelson_ebpf_common::{
    metrics::{BUCKETS, SINCE_LOG2, TICK_LOG2, Totals, bucket},
    value::Connection,
};

/// How connections went. All are sums since the maps were made; they outlive the daemon.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Figures {
    /// Connections that are established now.
    pub open: u64,
    /// Connections that were established and have ended.
    pub ended: u64,
    /// connect() calls whose socket was closed without ever being established.
    pub failed: u64,
    /// connect() and sendto() calls refused for want of a backend.
    pub refused: u64,
    /// Of the ended: by a reset from the other side, or because it did not answer any more.
    pub resets: u64,
    /// Of the ended: by a reset from the client.
    pub aborts: u64,
    /// Segments sent again, of ended connections.
    pub retransmits: u64,
    /// Bytes acknowledged by the other side, of ended connections.
    pub sent_bytes: u64,
    /// Bytes received by the client, of ended connections.
    pub received_bytes: u64,
    /// Sum of the last smoothed round trip time of ended connections, microseconds.
    pub srtt_us: u64,
    /// Sum of how long ended connections lasted, milliseconds.
    pub lasted_ms: u64,
    /// Sum of how long connect() took, of ended and open connections, nanoseconds.
    pub connect_ns: u64,
    /// How long connect() took, of ended and open connections: so many by bucket, see
    /// [`keelson_ebpf_common::metrics::bucket_start_ns`].
    pub histogram: Box<[u64; BUCKETS as usize]>,
}

impl Default for Figures {
    fn default() -> Self {
        Self::from(&Totals::NONE)
    }
}

impl From<&Totals> for Figures {
    fn from(totals: &Totals) -> Self {
        Self {
            open: 0,
            ended: totals.ended,
            failed: totals.failed,
            refused: totals.refused,
            resets: totals.resets,
            aborts: totals.aborts,
            retransmits: totals.retransmits,
            sent_bytes: totals.sent_bytes,
            received_bytes: totals.received_bytes,
            srtt_us: totals.srtt_us,
            lasted_ms: (totals.lasted << SINCE_LOG2) / 1_000_000,
            connect_ns: totals.connect << TICK_LOG2,
            histogram: Box::new(totals.histogram),
        }
    }
}

impl Figures {
    /// Connections established, open or ended.
    pub fn established(&self) -> u64 {
        self.open + self.ended
    }

    /// Adds the sums of others.
    pub fn add(&mut self, other: &Self) {
        self.open += other.open;
        self.ended += other.ended;
        self.failed += other.failed;
        self.refused += other.refused;
        self.resets += other.resets;
        self.aborts += other.aborts;
        self.retransmits += other.retransmits;
        self.sent_bytes += other.sent_bytes;
        self.received_bytes += other.received_bytes;
        self.srtt_us += other.srtt_us;
        self.lasted_ms += other.lasted_ms;
        self.connect_ns += other.connect_ns;
        self.histogram.iter_mut().zip(other.histogram.iter()).for_each(|(mine, theirs)| *mine += theirs);
    }

    /// Adds a connection that is established and has not ended.
    pub(super) fn add_open(&mut self, connection: &Connection) {
        self.open += 1;
        self.connect_ns += u64::from(connection.connect) << TICK_LOG2;
        self.histogram[bucket(connection.connect) as usize] += 1;
    }
}

/// Adds what a row held to another row's sums.
pub(super) fn merge(into: &mut Totals, from: &Totals) {
    into.ended += from.ended;
    into.failed += from.failed;
    into.refused += from.refused;
    into.resets += from.resets;
    into.aborts += from.aborts;
    into.retransmits += from.retransmits;
    into.sent_bytes += from.sent_bytes;
    into.received_bytes += from.received_bytes;
    into.srtt_us += from.srtt_us;
    into.lasted += from.lasted;
    into.connect += from.connect;
    into.histogram.iter_mut().zip(from.histogram).for_each(|(mine, theirs)| *mine += theirs);
}
