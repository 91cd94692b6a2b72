//! What becomes of a packet.

use aya_ebpf::programs::XdpContext;
use keelson_ebpf_common::{
    key::{Frontend4, Frontend6},
    maglev,
    net::{Address4, Address6, Port},
    packet::{ExternalTarget, Tuple, protocol, tcp},
    wire::{AGE_NS_LOG2, Verdict, state::AGE},
};

use crate::{
    flows,
    frame::{self, DROP, Head, PASS, WHOLE},
    headers::{self, Head6, Headers},
    hop::{self, Way},
    known::{self, Backend},
    outside,
    send::{self, Marked},
    state::{self, EXTERNALS, Flows, WIRE_FRONTENDS, count, now_ns, translates},
    too_long, translate,
};

/// Offset of TCP's flags.
const FLAGS: usize = frame::ETHERNET + frame::IPV4 + 13;

#[inline(always)]
pub fn run(context: &XdpContext) -> u32 {
    if let Some(place) = frame::head(context) {
        return four(context, place);
    }
    match headers::head6(context) {
        Some(place) if translates() != 0 => six(context, place),
        _ => PASS,
    }
}

/// A packet of IPv6: those of Services that are to be answered directly are left to tc, too.
#[inline(always)]
fn six(context: &XdpContext, place: *mut Head6) -> u32 {
    // SAFETY: inside of the packet.
    let head = unsafe { &*place };
    let frontend = Frontend6 {
        address: Address6(head.ip.destination),
        port: Port(head.destination_port),
        protocol: head.ip.next_header,
        pad: 0,
    };
    // SAFETY: as below.
    match unsafe { EXTERNALS.get(&frontend) } {
        Some(external) => translate::ask(context, place, external.number),
        None if translate::may_be_answer(head, head.destination_port) => translate::answer(context, place),
        None => PASS,
    }
}

#[inline(always)]
fn four(context: &XdpContext, place: *mut Head) -> u32 {
    // SAFETY: inside of the packet.
    let head = unsafe { &*place };
    let frontend = Frontend4 {
        address: Address4(head.ip.destination),
        port: Port(head.destination_port),
        protocol: head.ip.protocol,
        pad: 0,
    };
    // SAFETY: the element never changes while it exists, and its memory is not given to another key before this program has
    // ended (the daemon waits for a grace period).
    let Some(external) = (unsafe { WIRE_FRONTENDS.get(&frontend) }) else {
        if translates() != 0 && translate::may_be_answer(head, head.destination_port) {
            return translate::answer(context, place);
        }
        return PASS;
    };
    let Some(target) = outside::target(external) else { return PASS };
    if !target.direct {
        if translates() == 0 {
            return PASS;
        }
        return translate::ask(context, place, external.number);
    }
    let hash = maglev::hash4(head.ip.source, head.ip.destination, head.ports(), head.ip.protocol);
    let now_ns = now_ns();
    let age = (now_ns >> AGE_NS_LOG2) as u32 & AGE;
    let (opens, known) = if head.ip.protocol == protocol::TCP {
        let Some(flags) = frame::at::<u8>(context, FLAGS) else { return PASS };
        // SAFETY: inside of the packet.
        let flags = unsafe { *flags };
        let opens = flags & (tcp::SYN | tcp::ACK) == tcp::SYN;
        let over = flags & (tcp::FIN | tcp::RST) != 0;
        (opens, if opens { Backend::NONE } else { known::find(head, hash, age, over) })
    } else {
        // What was sent to a backend before does not bind: each datagram goes where the table leads now.
        (true, Backend::NONE)
    };
    let mut backend = known;
    if !known.is_some() {
        backend = choose(head, &target, external.number, hash, opens);
        if !backend.is_some() {
            count(Verdict::Left);
            return PASS;
        }
    }
    let address = Address4(backend.address()).to_mapped();
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
    if head.ip.hops <= 1 {
        count(Verdict::Left);
        return PASS;
    }
    let marked = if opens { Marked::Yes } else { Marked::No };
    let room = hop.mtu - marked.bytes();
    if u32::from(u16::from_be(head.ip.total_length)) > room {
        if head.ip.fragment & WHOLE.to_be() == 0 {
            count(Verdict::Left);
            return PASS;
        }
        return too_long::answer(context, head, room);
    }
    remember(head, opens, hash, backend, age);
    count(if known.is_some() { Verdict::Known } else { Verdict::Chosen });
    match marked {
        Marked::No => send::as_it_is(context, place, backend, hop),
        Marked::Yes => send::marked(context, place, backend, hop),
    }
}

/// A backend for a packet of no known flow.
#[inline(always)]
fn choose(head: &Head, target: &ExternalTarget, number: u32, hash: u64, opens: bool) -> Backend {
    if target.count == 0 || target.affine {
        return Backend::NONE;
    }
    if (target.ranged || !opens) && !may(head, target, number, opens) {
        return Backend::NONE;
    }
    match outside::spread(target, hash) {
        Some(backend) => Backend::new(backend.address.0[3], backend.port.0),
        None => Backend::NONE,
    }
}

/// Whether a client is let in, and in the midst of a connection, whether it is not one of tc's.
#[inline(never)]
fn may(head: &Head, target: &ExternalTarget, number: u32, opens: bool) -> bool {
    let source = Address4(head.ip.source).to_mapped();
    if target.ranged && !outside::in_ranges(number + 1, source) {
        return false;
    }
    if opens || !flows::any() {
        return true;
    }
    let Some(Flows { from, to, .. }) = state::flows() else { return true };
    *from = head.tuple();
    !flows::peek(from, to)
}

/// A connection that begins here stays at its backend, on this node or another.
#[inline(always)]
fn remember(head: &Head, opens: bool, hash: u64, backend: Backend, age: u32) {
    if opens && head.ip.protocol == protocol::TCP && !known::put(head, hash, backend, age) {
        count(Verdict::Unwritten);
    }
}
