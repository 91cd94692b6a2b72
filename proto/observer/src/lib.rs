//! The contract between a node daemon and those who look at its Services, and the arithmetic that both need: sums and
//! percentiles of figures.
#![forbid(unsafe_code)]

pub use proto::*;

/// Below the run directory of a node: the socket on which the contract is spoken as gRPC.
pub const SOCKET: &str = "observer.sock";

mod proto {
    #![expect(missing_docs, reason = "generated; the .proto file documents every message and field")]
    tonic::include_proto!("keelson.observer.v1");
}

impl Figures {
    /// Connections established, open or ended.
    pub fn established(&self) -> u64 {
        self.open + self.ended
    }

    /// Adds the sums of others: another backend's, another node's.
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
        for theirs in &other.connect {
            match self.connect.binary_search_by_key(&theirs.from_ns, |bucket| bucket.from_ns) {
                Ok(at) => self.connect[at].count += theirs.count,
                Err(at) => self.connect.insert(at, *theirs),
            }
        }
    }

    /// How long the fastest so many in a hundred connects took at most, nanoseconds: read off within the bucket as if its
    /// connections were spread evenly, which is wrong by an eighth at most. Of the last bucket its start. `None` without connections.
    pub fn connect_percentile_ns(&self, percent: u64) -> Option<u64> {
        let all: u64 = self.connect.iter().map(|bucket| bucket.count).sum();
        // The rank of the one that is asked for, from 1 on.
        let rank = (all * percent).div_ceil(100).max(1);
        let mut below = 0;
        let bucket = self.connect.iter().find(|bucket| {
            let found = below + bucket.count >= rank;
            below += if found { 0 } else { bucket.count };
            found
        })?;
        let width = bucket.to_ns.saturating_sub(bucket.from_ns);
        Some(bucket.from_ns + width * (2 * (rank - below) - 1) / (2 * bucket.count))
    }

    /// Mean of the round trip times at the end of connections, microseconds; `None` when none has ended.
    pub fn srtt_mean_us(&self) -> Option<u64> {
        self.srtt_us.checked_div(self.ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(buckets: &[(u64, u64, u64)]) -> Figures {
        let connect = buckets.iter().map(|&(from_ns, to_ns, count)| Bucket { from_ns, to_ns, count });
        Figures { connect: connect.collect(), ..Figures::default() }
    }

    #[test]
    fn percentiles_are_read_off_within_the_bucket() {
        let of = |buckets: &[_], percent| figures(buckets).connect_percentile_ns(percent);
        assert_eq!(of(&[], 50), None);
        assert_eq!(of(&[(100, 200, 1)], 50), Some(150));
        assert_eq!(of(&[(100, 200, 99), (1000, 2000, 1)], 50), Some(150));
        assert_eq!(of(&[(100, 200, 99), (1000, 2000, 1)], 99), Some(199));
        assert_eq!(of(&[(100, 200, 98), (1000, 2000, 2)], 99), Some(1250));
        assert_eq!(of(&[(100, 0, 4)], 99), Some(100));
    }

    #[test]
    fn sums_keep_buckets_in_order() {
        let mut sum = figures(&[(10, 20, 1), (40, 50, 2)]);
        sum.add(&figures(&[(20, 30, 3), (40, 50, 4), (60, 0, 1)]));
        assert_eq!(sum, figures(&[(10, 20, 1), (20, 30, 3), (40, 50, 6), (60, 0, 1)]));
    }
}
