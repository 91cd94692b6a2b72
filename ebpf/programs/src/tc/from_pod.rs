//! What a pod sends, as it comes out of the pod's link.

use core::mem::MaybeUninit;

use aya_ebpf::{macros::classifier, programs::TcContext};
use keelson_ebpf_common::drop::Reason;

use crate::{
    answer::{self, Way},
    flows::{self, Source},
    forward::{Otherwise, Packet},
    icmp,
    ip::{Ip, V4, V6},
    service::{self, Choice},
    skb::{self, PASS, Skb},
    state::{ADDRESSES, endpoint},
    transport::{Kind, Passage},
};

#[classifier]
pub fn from_pod(context: TcContext) -> i32 {
    let skb = Skb(context.skb.skb);
    match skb.ether_type() {
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
    // A source that is not the pod's own is for the stack to judge: only what it would let through is sped up.
    if !endpoint(&passage.from.source).is_some_and(|own| own.ifindex == skb.ifindex()) {
        return PASS;
    }
    match decide(skb, ip, &mut passage) {
        Ok(Step::Send) => Packet { skb, ip, passage: &passage }.send(Otherwise::Stack),
        Ok(Step::Refuse) => answer::refuse(skb, ip, &passage, Way::Pod),
        Ok(Step::Echo) => answer::echo(skb, ip, Way::Pod),
        Err(reason) => skb::drop(reason),
    }
}

/// What is to be done with a packet.
enum Step {
    /// On its way, as the passage says.
    Send,
    /// A refusal back.
    Refuse,
    /// The answer to an echo back.
    Echo,
}

#[inline(always)]
fn decide<I: Ip>(skb: Skb, ip: &I, passage: &mut Passage) -> Result<Step, Reason> {
    if !passage.read(skb, ip) {
        icmp::translate(skb, ip, passage)?;
        return Ok(Step::Send);
    }
    let Passage { from, to, kind, flags } = passage;
    *to = *from;
    if flows::find(from, *flags, to) || endpoint(&from.destination).is_some() {
        return Ok(Step::Send);
    }
    match kind {
        Kind::AddressesOnly => return Ok(Step::Send),
        Kind::Echo => {
            let ours = ADDRESSES.get_ptr(&from.destination).is_some() && from.source_port.0 != 0;
            return Ok(if ours { Step::Echo } else { Step::Send });
        }
        Kind::Tcp | Kind::Udp => {}
    }
    match service::choose(from) {
        Choice::NotService => return Ok(Step::Send),
        Choice::Refuse => return Ok(Step::Refuse),
        Choice::BadRecord => return Err(Reason::BadRecord),
        Choice::Backend(backend) => {
            (to.destination, to.destination_port) = (backend.address, backend.port);
        }
    }
    // A pod that reaches itself must not see its own address as the client's.
    let source = if to.destination == from.source { Source::Node } else { Source::Own };
    flows::make(from, to, source)?;
    Ok(Step::Send)
}
