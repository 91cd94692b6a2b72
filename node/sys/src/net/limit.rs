//! How fast a link may send: a token bucket (tc-tbf(8)) in rtnetlink's form. Pure.

use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption};
use rtnetlink::packet_core::DefaultNla;

/// A bucket: what is sent may run ahead of the rate by its size, and waits in a queue when it is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Bytes a second.
    pub bytes_per_s: u64,
    /// Size of the bucket in bytes; packets that are longer are dropped, those of segmentation offload cut.
    pub burst_bytes: u32,
    /// Size of the queue in bytes; what does not fit is dropped.
    pub queue_bytes: u32,
}

// include/uapi/linux/pkt_sched.h
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
const TC_LINKLAYER_ETHERNET: u8 = 1;
/// `tc_ratespec`, twice (rate and peak rate), limit, buffer and mtu.
const PARMS_BYTES: usize = 36;

/// Major number of the queueing discipline at a link's root.
const HANDLE: u16 = 1;

/// The root queueing discipline of the link `index`.
pub(super) fn message(index: u32, limit: &RateLimit) -> TcMessage {
    let mut message = TcMessage::default();
    // An interface's index has 31 bits.
    message.header.index = index as i32;
    message.header.parent = TcHandle::ROOT;
    message.header.handle = TcHandle { major: HANDLE, minor: 0 };
    let option = |kind, bytes: Vec<u8>| TcOption::Other(DefaultNla::new(kind, bytes));
    message.attributes = vec![
        TcAttribute::Kind("tbf".to_owned()),
        TcAttribute::Options(vec![
            option(TCA_TBF_PARMS, parms(limit)),
            // The kernel takes the larger of this and the rate of 32 bits, which is then all ones.
            option(TCA_TBF_RATE64, limit.bytes_per_s.to_ne_bytes().to_vec()),
            option(TCA_TBF_BURST, limit.burst_bytes.to_ne_bytes().to_vec()),
        ]),
    ];
    message
}

fn parms(limit: &RateLimit) -> Vec<u8> {
    let mut parms = vec![0; PARMS_BYTES];
    let rate = u32::try_from(limit.bytes_per_s).unwrap_or(u32::MAX);
    parms[1] = TC_LINKLAYER_ETHERNET;
    parms[8..12].copy_from_slice(&rate.to_ne_bytes());
    parms[24..28].copy_from_slice(&limit.queue_bytes.to_ne_bytes());
    parms
}
