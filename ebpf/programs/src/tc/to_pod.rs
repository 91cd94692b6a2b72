//! What the node's own stack sends to a pod: an answer that came that way gets its Service back as its source.

use core::mem::MaybeUninit;

use aya_ebpf::{macros::classifier, programs::TcContext};

use crate::{
    flows,
    forward::Packet,
    icmp,
    ip::{Ip, V4, V6},
    skb::{self, PASS, Skb},
    transport::Passage,
};

#[classifier]
pub fn to_pod(context: TcContext) -> i32 {
    let skb = Skb(context.skb.skb);
    match skb.ether_type() {
        _ if !flows::any() => PASS,
        0x0800 => run::<V4>(skb),
        0x86dd => run::<V6>(skb),
        _ => PASS,
    }
}

#[inline(never)]
fn run<I: Ip>(skb: Skb) -> i32 {
    let mut place = MaybeUninit::uninit();
    let Some(ip) = I::load(skb, &mut place) else { return PASS };
    let mut passage = Passage::of(ip);
    let known = if passage.read(skb, ip) {
        flows::find(&passage.from, passage.flags, &mut passage.to)
    } else {
        match icmp::translate(skb, ip, &mut passage) {
            Ok(translated) => translated,
            Err(reason) => return skb::drop(reason),
        }
    };
    if known { Packet { skb, ip, passage: &passage }.stay() } else { PASS }
}
