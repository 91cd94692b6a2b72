//! What comes in from the wire, or from a tunnel: Services reached from outside, answers to translated flows, pods' packets.

use core::mem::MaybeUninit;

use aya_ebpf::{macros::classifier, programs::TcContext};
use keelson_ebpf_common::{drop::Reason, packet::Endpoint};

use crate::{
    answer::{self, Way},
    arp,
    direct::{self, Marked},
    drops,
    external::{self, Choice},
    flows::{self, Source},
    forward::{self, Otherwise, Packet},
    icmp,
    ip::{Ip, V4, V6},
    ndp, policy, say,
    skb::{self, PASS, SHOT, Skb},
    state::{endpoint, foreign_pods},
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
fn run<I: Marked>(skb: Skb) -> i32 {
    skb.set_judged(false);
    let mut place = MaybeUninit::uninit();
    let Some(ip) = I::load(skb, &mut place) else { return PASS };
    // An echo is answered by its own way; all other ICMPv6 of a neighbour's ends in the stack, if not here.
    if I::FAMILY == V6::FAMILY && ip.protocol() == I::ICMP {
        let verdict = ndp::answer(skb, ip);
        if verdict != PASS {
            return verdict;
        }
    }
    let Some(passage) = Passage::begin(skb, ip) else { return PASS };
    let step = decide(skb, ip, passage);
    let (plain, otherwise) = match step {
        Step::Drop => return SHOT,
        Step::Refuse => return answer::refuse(skb, ip, passage, Way::Wire),
        Step::Plain => (true, Otherwise::Stack),
        // With its own source it is like any other to the stack, which knows the way to a pod of another's network.
        Step::Translated if foreign_pods() != 0 && passage.from.source == passage.to.source => {
            (false, Otherwise::Stack)
        }
        Step::Translated => (false, Otherwise::Nowhere),
    };
    let to = endpoint(&passage.to.destination);
    if plain {
        // Straight to its pod, if it is one of this node's; all else is for the stack.
        if to.is_none_or(|to| to.ifindex == Endpoint::NODE) {
            return PASS;
        }
        if passage.flags & (tcp::FIN | tcp::RST) != 0 && flows::any() {
            flows::note_end(&passage.from, passage.flags);
        }
    }
    if policy::is_policed(to) {
        // Nobody outside has an address of this node, whose own packets do not come this way.
        if endpoint(&passage.from.source).is_some() {
            return skb::drop(Reason::ForeignSource);
        }
        let decision = policy::judge(passage);
        if decision != policy::PASSED {
            return policy::drop(passage, decision);
        }
    }
    Packet { skb, ip, passage }.send(to, otherwise)
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
fn decide<I: Marked>(skb: Skb, ip: &mut I, passage: &mut Passage) -> Step {
    if !passage.read::<I>(skb) {
        if policy::enforced() {
            icmp::about::<I>(skb, passage);
        }
        return match icmp::translate::<I>(skb, passage) {
            icmp::UNWRITABLE => dropped(Reason::Unwritable),
            icmp::TRANSLATED => Step::Translated,
            _ => Step::Plain,
        };
    }
    match direct::take(skb, ip, passage) {
        Ok(true) => return Step::Plain,
        Ok(false) => {}
        Err(reason) => return dropped(reason),
    }
    let Passage { from, to, kind, flags, .. } = passage;
    *to = *from;
    if flows::find(from, *flags, to) {
        // A pod's flow to a Service whose backend is outside was translated twice on its way out: first to the backend, as it
        // left the pod, then to the node's address, as it left the node.
        let between = *to;
        flows::find(&between, *flags, to);
        return Step::Translated;
    }
    if !matches!(kind, Kind::Tcp | Kind::Udp | Kind::Sctp) {
        return Step::Plain;
    }
    match external::choose(from, to) {
        Choice::NotService => return Step::Plain,
        Choice::Refuse => return Step::Refuse,
        Choice::Drop => return Step::Drop,
        Choice::Backend => {
            say::chosen((from.destination, from.destination_port), (to.destination, to.destination_port))
        }
    }
    // A backend elsewhere must answer to this node, which alone can translate back, and by the way that it was asked.
    let source = if endpoint(&to.destination).is_some() {
        Source::Own
    } else {
        match forward::way(skb, I::FAMILY, to) {
            forward::BY_TUNNEL => Source::Given,
            forward::BY_UPLINK => Source::Node,
            // A pod of this node: its answers leave by the uplink, too.
            _ if foreign_pods() != 0 => Source::Own,
            _ => Source::Node,
        }
    };
    if let Err(reason) = flows::make(from, to, source) {
        return dropped(reason);
    }
    Step::Translated
}

/// Counted here, as in [`external`]: a reason beside a step is half a register, which the verifier refuses to see moved.
#[inline(always)]
fn dropped(reason: Reason) -> Step {
    drops::count(reason);
    Step::Drop
}
