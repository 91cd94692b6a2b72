//! What comes in from the wire: Services reached from outside, answers to translated flows, pods' packets.

use core::mem::MaybeUninit;

use aya_ebpf::{macros::classifier, programs::TcContext};
use keelson_ebpf_common::{drop::Reason, packet::Endpoint};

use crate::{
    answer::{self, Way},
    arp,
    direct,
    external::{self, Choice},
    flows::{self, Source},
    forward::{Otherwise, Packet},
    icmp,
    ip::{Ip, V4, V6},
    skb::{self, PASS, SHOT, Skb},
    state::endpoint,
    transport::{Kind, Passage, tcp},
};

#[classifier]
pub fn from_uplink(context: TcContext) -> i32 {
    let skb = Skb(context.skb.skb);
    match skb.ether_type() {
        0x0800 => run::<V4>(skb),
        0x86dd => run::<V6>(skb),
        0x0806 => arp::answer(skb),
        _ => PASS,
    }
}

#[inline(never)]
fn run<I: Ip>(skb: Skb) -> i32 {
    let mut place = MaybeUninit::uninit();
    let Some(ip) = I::load(skb, &mut place) else { return PASS };
    let mut passage = Passage::of(ip);
    let step = match decide(skb, ip, &mut passage) {
        Ok(step) => step,
        Err(reason) => return skb::drop(reason),
    };
    let otherwise = match step {
        Step::Drop => return SHOT,
        Step::Refuse => return answer::refuse(skb, ip, &passage, Way::Wire),
        Step::Translated => Otherwise::Nowhere,
        // Straight to its pod, if it is one of this node's; all else is for the stack.
        Step::Plain if endpoint(&passage.to.destination).is_none_or(|to| to.ifindex == Endpoint::NODE) => {
            return PASS;
        }
        Step::Plain => {
            if passage.flags & (tcp::FIN | tcp::RST) != 0 && flows::any() {
                flows::note_end(&passage.from, passage.flags);
            }
            Otherwise::Stack
        }
    };
    Packet { skb, ip, passage: &passage }.send(otherwise)
}

/// What is to be done with a packet.
enum Step {
    /// Nobody translates it.
    Plain,
    /// On its way, as the passage says.
    Translated,
    /// A refusal back.
    Refuse,
    /// Nowhere; it is counted already.
    Drop,
}

#[inline(always)]
fn decide<I: Ip>(skb: Skb, ip: &mut I, passage: &mut Passage) -> Result<Step, Reason> {
    if !passage.read(skb, ip) {
        let translated = icmp::translate(skb, ip, passage)?;
        return Ok(if translated { Step::Translated } else { Step::Plain });
    }
    if direct::take(skb, ip, passage)? {
        return Ok(Step::Plain);
    }
    let Passage { from, to, kind, flags } = passage;
    *to = *from;
    if flows::find(from, *flags, to) {
        // A pod's flow to a Service whose backend is outside was translated twice on its way out: first to the backend, as it
        // left the pod, then to the node's address, as it left the node.
        let between = *to;
        flows::find(&between, *flags, to);
        return Ok(Step::Translated);
    }
    if !matches!(kind, Kind::Tcp | Kind::Udp) {
        return Ok(Step::Plain);
    }
    match external::choose(from) {
        Choice::NotService => return Ok(Step::Plain),
        Choice::Refuse => return Ok(Step::Refuse),
        Choice::Drop => return Ok(Step::Drop),
        Choice::Backend(backend) => {
            (to.destination, to.destination_port) = (backend.address, backend.port);
        }
    }
    // A backend elsewhere must answer to this node, which alone can translate back.
    let source = if endpoint(&to.destination).is_some() { Source::Own } else { Source::Node };
    flows::make(from, to, source)?;
    Ok(Step::Translated)
}
