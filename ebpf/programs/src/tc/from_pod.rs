//! What a pod sends, as it comes out of the pod's link.

use core::mem::MaybeUninit;

use aya_ebpf::{macros::classifier, programs::TcContext};
use keelson_ebpf_common::{
    drop::Reason,
    net::Address6,
    packet::{Endpoint, endpoint_flag},
};

use crate::{
    answer::{self, Way},
    flows::{self, Source},
    forward::{self, Otherwise, Packet},
    icmp,
    ip::{Ip, V4, V6},
    pace, policy,
    say,
    service::{self, Choice},
    skb::{self, PASS, SHOT, Skb},
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
    skb.set_judged(false);
    let mut place = MaybeUninit::uninit();
    let Some(ip) = I::load(skb, &mut place) else { return PASS };
    let Some(passage) = Passage::begin(skb, ip) else { return PASS };
    // A source that is not the pod's own is for the stack to judge: only what it would let through is sped up. Policies know a
    // pod by its address, so where there are any it has no other.
    let own = endpoint(&passage.from.source).filter(|own| own.ifindex == skb.ifindex());
    let Some(own) = own else {
        let stays = policy::is_of_link(&passage.from.source) || is_none(&passage.from.source);
        return if policy::own_sources() && !stays { skb::drop(Reason::ForeignSource) } else { PASS };
    };
    let (policed, paced) = (policy::is_policed(Some(own)), own.flags & endpoint_flag::PACED != 0);
    match decide::<I>(skb, passage) {
        Ok(Step::Send) => {}
        Ok(Step::Refuse) => return answer::refuse(skb, ip, passage, Way::Pod),
        Ok(Step::Echo) => return answer::echo(skb, ip, passage, Way::Pod),
        Err(reason) => return skb::drop(reason),
    }
    let to = endpoint(&passage.to.destination);
    if policed || policy::is_policed(to) {
        let decision = policy::judge(passage);
        if decision != policy::PASSED && !is_for_node::<I>(skb, passage, to) {
            return policy::drop(passage, decision);
        }
    }
    // What stays on the node is not held by the uplink's queue.
    if paced && to.is_none() && !pace::depart(skb, passage.carried.at) {
        return SHOT;
    }
    Packet { skb, ip, passage }.send(to, Otherwise::Stack)
}

/// Whether a packet is for the pod's own node, with which it always speaks. Asked of what would be dropped: the addresses
/// that the node is known by have been looked at, not those of its other links.
#[inline(always)]
fn is_for_node<I: Ip>(skb: Skb, passage: &Passage, to: Option<&Endpoint>) -> bool {
    to.is_none()
        && (policy::is_of_link(&passage.to.destination) || forward::ends_here(skb, I::FAMILY, &passage.to))
}

/// The source of who has no address yet.
#[inline(always)]
fn is_none(address: &Address6) -> bool {
    address.0 == [0; 4] || address.mapped().is_some_and(|v4| v4.0 == 0)
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
fn decide<I: Ip>(skb: Skb, passage: &mut Passage) -> Result<Step, Reason> {
    if !passage.read::<I>(skb) {
        if policy::enforced() {
            icmp::about::<I>(skb, passage);
        }
        let outcome = icmp::translate::<I>(skb, passage);
        return if outcome == icmp::UNWRITABLE { Err(Reason::Unwritable) } else { Ok(Step::Send) };
    }
    let Passage { from, to, kind, flags, .. } = passage;
    *to = *from;
    if flows::find(from, *flags, to) {
        return Ok(Step::Send);
    }
    // A pod's address is no Service's; the node's own has its node ports.
    let at = endpoint(&from.destination);
    if at.is_some_and(|at| at.ifindex != Endpoint::NODE) {
        return Ok(Step::Send);
    }
    match kind {
        Kind::AddressesOnly => return Ok(Step::Send),
        Kind::Echo if at.is_some() => return Ok(Step::Send),
        Kind::Echo => {
            let ours = ADDRESSES.get_ptr(&from.destination).is_some() && from.source_port.0 != 0;
            return Ok(if ours { Step::Echo } else { Step::Send });
        }
        Kind::Tcp | Kind::Udp | Kind::Sctp => {}
    }
    match service::choose(from) {
        Choice::NotService => return Ok(Step::Send),
        Choice::Refuse => return Ok(Step::Refuse),
        Choice::BadRecord => return Err(Reason::BadRecord),
        Choice::Backend(backend) => {
            say::chosen((from.destination, from.destination_port), (backend.address, backend.port));
            (to.destination, to.destination_port) = (backend.address, backend.port);
        }
    }
    // A pod that reaches itself must not see its own address as the client's.
    let source = if to.destination == from.source { Source::Node } else { Source::Own };
    flows::make(from, to, source)?;
    Ok(Step::Send)
}
