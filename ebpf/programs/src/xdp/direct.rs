//! Packets to Services whose backends' nodes answer clients themselves: sent on with another destination, and nothing else changed.

use aya_ebpf::programs::XdpContext;
use keelson_ebpf_common::{
    packet::{External, ExternalTarget, Tuple, protocol, tcp},
    wire::{AGE_NS_LOG2, Verdict, state::AGE},
};

use crate::{
    affinity, flows,
    frame::{self, DROP, PASS},
    headers::Head6,
    hop::{self, Way},
    known, outside,
    send::Direct,
    state::{self, Flows, count, now_ns},
    ways::{Backend, Known},
};

/// A packet of IPv6 to a frontend of this number.
#[inline(never)]
pub fn six(context: &XdpContext, place: *mut Head6, number: u32) -> u32 {
    match outside::target(&External { number }) {
        Some(target) => send_on(context, place, &target, number),
        None => PASS,
    }
}

/// A packet to the frontend of this number, and where that leads.
#[inline(always)]
pub fn send_on<H: Direct>(context: &XdpContext, place: *mut H, target: &ExternalTarget, number: u32) -> u32 {
    // SAFETY: inside of the packet.
    let head = unsafe { &*place };
    let hash = head.hash();
    let now_ns = now_ns();
    let age = (now_ns >> AGE_NS_LOG2) as u32 & AGE;
    let (opens, known) = if head.protocol() == protocol::TCP {
        // Offset of TCP's flags.
        let Some(flags) = frame::at::<u8>(context, H::TRANSPORT + 13) else { return PASS };
        // SAFETY: inside of the packet.
        let flags = unsafe { *flags };
        let opens = flags & (tcp::SYN | tcp::ACK) == tcp::SYN;
        let over = flags & (tcp::FIN | tcp::RST) != 0;
        (opens, if opens { H::Backend::NONE } else { known::find(head, hash, age, over) })
    } else {
        // What was sent to a backend before does not bind: each datagram goes where the table leads now.
        (true, H::Backend::NONE)
    };
    let mut backend = known;
    if !known.is_some() {
        backend = choose(head, target, number, hash, opens);
        if !backend.is_some() {
            count(Verdict::Left);
            return PASS;
        }
    }
    let address = backend.address();
    let hop = match hop::to(context, address, now_ns, || Tuple { destination: address, ..head.tuple() }) {
        Way::Wire(hop) => hop,
        Way::Other => {
            remember(head, opens, hash, backend, age);
            count(Verdict::Local);
            return PASS;
        }
        // Where a flow begins, tc can ask for the neighbour; in its midst it would begin another one.
        Way::None if opens => {
            count(Verdict::Left);
            return PASS;
        }
        Way::None => {
            count(Verdict::NoHop);
            return DROP;
        }
    };
    if head.hops() <= 1 {
        count(Verdict::Left);
        return PASS;
    }
    let room = hop.mtu - if opens { H::MARK_BYTES } else { 0 };
    if head.length() > room {
        return too_long(context, head, room);
    }
    remember(head, opens, hash, backend, age);
    count(if known.is_some() { Verdict::Known } else { Verdict::Chosen });
    if opens { H::marked(context, place, backend, hop) } else { H::as_it_is(context, place, backend, hop) }
}

/// A packet that is too long for its way, which takes so many bytes of it: tc may divide it, or needs no room for an option.
#[inline(never)]
fn too_long<H: Direct>(context: &XdpContext, head: &H, room: u32) -> u32 {
    if head.is_dividable() || room < H::MTU_MIN {
        count(Verdict::Left);
        return PASS;
    }
    let Some(Flows { from, .. }) = state::flows() else { return PASS };
    *from = head.tuple();
    head.tell_too_long(context, from, room)
}

/// A backend for a packet of no known flow.
#[inline(always)]
fn choose<H: Direct>(head: &H, target: &ExternalTarget, number: u32, hash: u64, opens: bool) -> H::Backend {
    if target.count == 0 {
        return H::Backend::NONE;
    }
    if (target.ranged || !opens) && !may(head, target.ranged, number, opens) {
        return H::Backend::NONE;
    }
    if target.affine {
        return held(head, number, target.first, target.count);
    }
    match outside::spread(target, hash) {
        Some(backend) => H::Backend::new(backend.address, backend.port),
        None => H::Backend::NONE,
    }
}

/// The backend that the client is held to.
#[inline(always)]
fn held<H: Direct>(head: &H, number: u32, first: u32, count: u32) -> H::Backend {
    let Some(Flows { from, to, .. }) = state::flows() else { return H::Backend::NONE };
    *from = head.tuple();
    if affinity::hold_external(from, number, first, count, to) {
        H::Backend::new(to.destination, to.destination_port)
    } else {
        H::Backend::NONE
    }
}

/// Whether a client is let in, and in the midst of a connection, whether it is not one of tc's.
#[inline(never)]
fn may<H: Direct>(head: &H, ranged: bool, number: u32, opens: bool) -> bool {
    let Some(Flows { from, to, .. }) = state::flows() else { return false };
    *from = head.tuple();
    if ranged && !outside::in_ranges(number + 1, from.source) {
        return false;
    }
    opens || !flows::any() || !flows::peek(from, to)
}

/// A connection that begins here stays at its backend, on this node or another.
#[inline(always)]
fn remember<H: Direct>(head: &H, opens: bool, hash: u64, backend: H::Backend, age: u32) {
    if opens && head.protocol() == protocol::TCP && !put(head, hash, backend, age) {
        count(Verdict::Unwritten);
    }
}

/// See [`known::put`].
#[inline(never)]
fn put<H: Known>(head: &H, hash: u64, backend: H::Backend, age: u32) -> bool {
    known::put(head, hash, backend, age)
}
