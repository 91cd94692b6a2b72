//! The bounds of a pod's bandwidth, as token buckets at both ends of its link. Pure.
//!
//! The annotations `kubernetes.io/ingress-bandwidth` and `kubernetes.io/egress-bandwidth` are read by the runtime, which refuses
//! what is no quantity from 1k to 1P, and hands them to a plugin that has the capability `bandwidth`
//! (<https://www.cni.dev/docs/conventions/>).
//!
//! ```text
//! pod's end   ── sends to ──▶ the host:  egress     its sockets feel the queue
//! host's end  ── sends to ──▶ the pod:   ingress    a packet must pass it: it is not taken past it (`redirect_peer`)
//! ```
//! A pod that has NET_ADMIN can take the bound of what it sends away. Where the uplink keeps times of departure, the data plane sets
//! those instead of the pod's own queue.

use keelson_sys::net::RateLimit;
use serde::Deserialize;

/// `runtimeConfig.bandwidth`: bits a second, by the pod's point of view. What is given as bursts is left out: runtimes give
/// the largest number there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Bandwidth {
    /// What comes to it; 0: no bound.
    // containerd writes names as Go has them, and Go reads names of any case.
    #[serde(alias = "IngressRate")]
    pub ingress_rate: u64,
    /// What it sends; 0: no bound.
    #[serde(alias = "EgressRate")]
    pub egress_rate: u64,
}

/// So much of a second's bytes may be sent at once.
const BURST_PART: u64 = 20;
/// So much of a second's bytes may wait.
const QUEUE_PART: u64 = 10;
/// Packets that fit into the smallest burst and the smallest queue: fewer, and a slow pod's would be lost in twos.
const BURST_PACKETS_MIN: u64 = 2;
const QUEUE_PACKETS_MIN: u64 = 16;
/// A link's header, which the queueing discipline counts.
const HEADER_BYTES: u64 = 14;

/// The bucket for a rate of bits a second, of packets up to `mtu` bytes; None for no bound.
pub fn limit(bits_per_s: u64, mtu: u32) -> Option<RateLimit> {
    if bits_per_s == 0 {
        return None;
    }
    let bytes_per_s = bits_per_s.div_ceil(8);
    let packet = u64::from(mtu) + HEADER_BYTES;
    let burst = (bytes_per_s / BURST_PART).max(BURST_PACKETS_MIN * packet);
    let queue = burst + (bytes_per_s / QUEUE_PART).max(QUEUE_PACKETS_MIN * packet);
    // The kernel counts both in 32 bits.
    let bounded = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
    Some(RateLimit { bytes_per_s, burst_bytes: bounded(burst), queue_bytes: bounded(queue) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_spell_the_rates_in_two_ways() {
        for text in [
            r#"{"ingressRate": 8, "ingressBurst": 4294967295, "egressRate": 16, "egressBurst": 0}"#,
            r#"{"IngressRate": 8, "IngressBurst": 4294967295, "EgressRate": 16, "EgressBurst": 0}"#,
        ] {
            let found: Bandwidth = serde_json::from_str(text).unwrap();
            assert_eq!((found.ingress_rate, found.egress_rate), (8, 16), "{text}");
        }
    }

    #[test]
    fn every_rate_that_the_api_takes_has_a_bucket_that_holds_packets() {
        let rows = [
            (0, None),
            (1_000, Some((125, 3_028, 27_252))),
            (10_000_000, Some((1_250_000, 62_500, 187_500))),
            (1_000_000_000_000_000, Some((125_000_000_000_000, u32::MAX, u32::MAX))),
        ];
        for (bits, expected) in rows {
            let found = limit(bits, 1500).map(|l| (l.bytes_per_s, l.burst_bytes, l.queue_bytes));
            assert_eq!(found, expected, "{bits} bits a second");
        }
    }
}
