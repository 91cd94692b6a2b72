//! Packets that get the node's address as their source, and the answers to them: the same flows, in the same table, as those of
//! the programs at tc, of which this is the fast way.
//!
//! Whatever keeps a packet from being sent on here is no loss: it goes on to tc as it came, which knows its flow as well.

use aya_ebpf::programs::XdpContext;
use keelson_ebpf_common::{
    maglev,
    packet::{External, Tuple, protocol, tcp},
    wire::Verdict,
};

use crate::{
    flows::{self, Source},
    frame::{self, PASS},
    headers::Headers,
    hop::{self, Way},
    node::{ports_count, ports_first},
    outside, send,
    state::{self, Flows, count, now_ns},
};

/// Whether a packet may be an answer to the node in a client's place: to its address, and a port of its.
#[inline(always)]
pub fn may_be_answer<H: Headers>(head: &H, destination_port: u16) -> bool {
    let port = u32::from(u16::from_be(destination_port));
    port.wrapping_sub(ports_first()) < ports_count() && head.is_for_node()
}

/// A client's packet to a Service, whose number is given.
#[inline(never)]
pub fn ask<H: Headers>(context: &XdpContext, place: *mut H, number: u32) -> u32 {
    // SAFETY: inside of the packet.
    let head = unsafe { &*place };
    let Some(flags) = flags(context, head) else { return PASS };
    let Some(Flows { from, to, .. }) = state::flows() else { return PASS };
    *from = head.tuple();
    *to = *from;
    let known = flows::find(from, flags, to);
    if !known && !choose(from, flags, number, to) {
        count(Verdict::Left);
        return PASS;
    }
    forward(context, place, from, to, known)
}

/// What may be an answer.
#[inline(never)]
pub fn answer<H: Headers>(context: &XdpContext, place: *mut H) -> u32 {
    // SAFETY: as above.
    let head = unsafe { &*place };
    let Some(flags) = flags(context, head) else { return PASS };
    let Some(Flows { from, to, .. }) = state::flows() else { return PASS };
    *from = head.tuple();
    *to = *from;
    if !flows::find(from, flags, to) {
        return PASS;
    }
    forward(context, place, from, to, true)
}

/// Of TCP; else none. `None` for a header that is cut short.
#[inline(always)]
fn flags<H: Headers>(context: &XdpContext, head: &H) -> Option<u8> {
    if head.protocol() != protocol::TCP {
        return Some(0);
    }
    // SAFETY: inside of the packet (`at` checks).
    frame::at::<u8>(context, H::TRANSPORT + 13).map(|flags| unsafe { *flags })
}

/// Writes the destination of a flow that begins here. Not an `Option` of a backend, for the verifier's sake (see
/// `known::Backend`).
#[inline(never)]
fn choose(from: &Tuple, flags: u8, number: u32, to: &mut Tuple) -> bool {
    if from.protocol == protocol::TCP && flags & (tcp::SYN | tcp::ACK) != tcp::SYN {
        return false;
    }
    let Some(target) = outside::target(&External { number }) else { return false };
    if target.count == 0 || target.affine || target.local_only {
        return false;
    }
    if target.ranged && !outside::in_ranges(number + 1, from.source) {
        return false;
    }
    let Some(backend) = outside::spread(&target, maglev::hash(from)) else { return false };
    (to.destination, to.destination_port) = (backend.address, backend.port);
    true
}

/// Sends a packet on as its flow says, if it leads back to the wire; a new flow is made first.
#[inline(always)]
fn forward<H: Headers>(
    context: &XdpContext,
    place: *mut H,
    from: &Tuple,
    to: &mut Tuple,
    known: bool,
) -> u32 {
    // SAFETY: as above.
    let head = unsafe { &*place };
    let hop = match hop::to(context, to.destination, now_ns(), || *to) {
        Way::Wire(hop) => hop,
        Way::Other => {
            count(Verdict::Local);
            return PASS;
        }
        // tc can ask for the neighbour.
        Way::None => {
            count(Verdict::Left);
            return PASS;
        }
    };
    let too_long = head.length() > hop.mtu;
    if too_long && !head.is_dividable() && head.hops() > 1 {
        return head.tell_too_long(context, from, hop.mtu);
    }
    if too_long || head.hops() <= 1 || (!known && flows::make(from, to, Source::Node).is_err()) {
        count(Verdict::Left);
        return PASS;
    }
    if !send::translated(context, place, to, hop) {
        return PASS;
    }
    count(if known { Verdict::Translated } else { Verdict::Opened });
    frame::TX
}
