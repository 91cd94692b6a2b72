//! What the node's own stack sends to a pod: an answer that came that way gets its Service back as its source, and what
//! comes from elsewhere is judged.

use core::mem::MaybeUninit;

use aya_ebpf::{macros::classifier, programs::TcContext};
use keelson_ebpf_common::{drop::Reason, packet::Endpoint};

use crate::{
    flows,
    forward::Packet,
    icmp,
    ip::{Ip, V4, V6},
    policy,
    skb::{self, PASS, Skb},
    state::endpoint,
    transport::Passage,
};

#[classifier]
pub fn to_pod(context: TcContext) -> i32 {
    let skb = Skb(context.skb.skb);
    match skb.ether_type() {
        _ if !flows::any() && !policy::enforced() => PASS,
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
    let known = if passage.read::<I>(skb) {
        passage.to = passage.from;
        flows::find(&passage.from, passage.flags, &mut passage.to)
    } else {
        if policy::enforced() {
            icmp::about::<I>(skb, passage);
        }
        match icmp::translate::<I>(skb, passage) {
            icmp::UNWRITABLE => return skb::drop(Reason::Unwritable),
            outcome => outcome == icmp::TRANSLATED,
        }
    };
    // A node and its own pods always reach each other.
    if skb.ingress_ifindex() != 0 && !skb.is_judged() && policy::is_policed(endpoint(&passage.to.destination))
    {
        // The node's own address was checked by nobody, and what has it would pass.
        if endpoint(&passage.from.source).is_some_and(|from| from.ifindex == Endpoint::NODE) {
            return skb::drop(Reason::ForeignSource);
        }
        let decision = policy::judge(passage);
        if decision != policy::PASSED {
            return policy::drop(passage, decision);
        }
    }
    if known { Packet { skb, ip, passage }.stay() } else { PASS }
}
