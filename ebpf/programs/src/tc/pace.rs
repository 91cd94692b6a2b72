//! A bound of what a pod sends out of its node, by times of departure: each packet is told when it may leave, and the uplink's `fq`
//! holds it until then. No queue a pod, and none that a pod could remove.
//!
//! The time is set here, at the pod's link, where it is known whose packet it is, and lasts: as a delivery time
//! (`bpf_skb_set_tstamp`) it is kept by `bpf_redirect_neigh`, by the stack that forwards, and by a tunnel's device, all of which clear
//! only times of reception (`skb_clear_tstamp`, include/linux/skbuff.h). Whoever delivers on this node clears it, too: what stays here
//! is neither held nor counted.
//!
//! Two packets on two CPUs at once may be given the same time: then the pod is ahead by the shorter one. Accepted; a lock would cost
//! every packet.

use aya_ebpf::helpers::{bpf_ktime_get_ns, bpf_skb_set_tstamp};
use keelson_ebpf_common::{
    drop::Reason,
    packet::{PACE_HORIZON_NS, Pace},
};

use crate::{drops, skb::Skb, state::PACES};

/// `BPF_SKB_TSTAMP_DELIVERY_MONO`, by now also called `BPF_SKB_CLOCK_MONOTONIC`.
const DELIVERY: u32 = 1;
/// Of a packet that is yet to be cut, beyond the IP header: TCP's with times, as all but the oldest hosts send.
const TCP_HEADER: u32 = 32;

/// Tells a packet of the pod whose link it is on when it may leave, or that it may not, which is counted. `transport`: where the header
/// behind that of IP begins.
#[inline(never)]
pub fn depart(skb: Skb, transport: u32) -> bool {
    let Some(pace) = PACES.get_ptr_mut(&skb.ifindex()) else { return true };
    // SAFETY: takes no pointer.
    let now = unsafe { bpf_ktime_get_ns() };
    // SAFETY: a pointer from the map, aligned words, each read and written at once.
    unsafe {
        let bytes_per_s = (&raw const (*pace).bytes_per_s).read_volatile();
        if bytes_per_s == 0 {
            return true;
        }
        let next = (&raw const (*pace).next_ns).read_volatile();
        // The pod's own word (TCP's pacing) counts, too: the later of all three.
        let start = now.max(next).max(skb.departs_ns());
        if start - now >= PACE_HORIZON_NS {
            drops::count(Reason::TooFast);
            return false;
        }
        let pieces = u64::from(skb.pieces().max(1));
        let bytes = u64::from(skb.len()) + (pieces - 1) * u64::from(transport + TCP_HEADER);
        (&raw mut (*pace).next_ns).write_volatile(start + Pace::takes_ns(bytes, bytes_per_s));
        if start > now && bpf_skb_set_tstamp(skb.0, start, DELIVERY) != 0 {
            drops::count(Reason::Unwritable);
            return false;
        }
    }
    true
}
