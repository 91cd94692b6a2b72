//! What leaves by the wire: a pod's packet to somewhere outside of the cluster gets the node's address, to which the
//! answer finds its way; and what a process of the node itself answers as a Service's backend gets its Service back.

use core::mem::MaybeUninit;

use aya_ebpf::{macros::classifier, programs::TcContext};
use keelson_ebpf_common::{
    drop::Reason,
    packet::{Endpoint, Tuple},
};

use crate::{
    flows::{self, Source},
    forward::Packet,
    icmp,
    ip::{Ip, V4, V6},
    outside::in_ranges,
    skb::{self, PASS, Skb},
    state::{endpoint, masquerade},
    transport::{Kind, Passage},
};

#[classifier]
pub fn to_uplink(context: TcContext) -> i32 {
    let skb = Skb(context.skb.skb);
    match skb.ether_type() {
        _ if masquerade() == 0 && !flows::any() => PASS,
        0x0800 => run::<V4>(skb),
        0x86dd => run::<V6>(skb),
        _ => PASS,
    }
}

#[inline(never)]
fn run<I: Ip>(skb: Skb) -> i32 {
    let mut place = MaybeUninit::uninit();
    let Some(ip) = I::load(skb, &mut place) else { return PASS };
    let Some(passage) = Passage::begin(skb, ip) else { return PASS };
    match translate::<I>(skb, passage) {
        Ok(true) => Packet { skb, ip, passage }.stay(),
        Ok(false) => PASS,
        Err(reason) => skb::drop(reason),
    }
}

/// Whether a packet is a pod's of this node, to an address outside of the cluster's own ranges.
#[inline(always)]
fn leaves(packet: &Tuple) -> bool {
    endpoint(&packet.source).is_some_and(|from| from.ifindex != Endpoint::NODE)
        && !in_ranges(0, packet.destination)
}

#[inline(always)]
fn translate<I: Ip>(skb: Skb, passage: &mut Passage) -> Result<bool, Reason> {
    if !passage.read::<I>(skb) {
        return match icmp::translate::<I>(skb, passage) {
            icmp::UNWRITABLE => Err(Reason::Unwritable),
            outcome => Ok(outcome == icmp::TRANSLATED),
        };
    }
    let Passage { from, to, kind, flags, .. } = passage;
    *to = *from;
    if flows::find(from, *flags, to) {
        return Ok(true);
    }
    if masquerade() == 0 || !leaves(from) {
        return Ok(false);
    }
    // The fragments of a datagram follow its first, and an answer to an echo is nobody's first packet.
    let starts = match kind {
        Kind::Tcp | Kind::Udp | Kind::Sctp => true,
        Kind::Echo => from.source_port.0 != 0,
        Kind::AddressesOnly => false,
    };
    if starts {
        flows::make(from, to, Source::Node)?;
    }
    Ok(starts)
}
