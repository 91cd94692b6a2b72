//! What becomes of a packet.

use aya_ebpf::programs::XdpContext;
use keelson_ebpf_common::{
    key::Frontend4,
    maglev,
    net::{Address4, Port},
    packet::{ExternalTarget, Tuple, protocol},
    wire::{AGE_NS_LOG2, Verdict, state::AGE},
};

use crate::{
    frame::{self, DROP, Head, PASS, WHOLE, tcp},
    hop::{self, Way},
    known::{self, Backend},
    outside,
    send::{self, Marked},
    state::{CONNTRACK, CONNTRACK_GATE, CONNTRACK_NEW, WIRE_FRONTENDS, count, now_ns},
    too_long,
};

/// Offset of TCP's flags.
const FLAGS: usize = frame::ETHERNET + frame::IPV4 + 13;

#[inline(always)]
pub fn run(context: &XdpContext) -> u32 {
    let Some(place) = frame::head(context) else { return PASS };
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
    let Some(external) = (unsafe { WIRE_FRONTENDS.get(&frontend) }) else { return PASS };
    let Some(target) = outside::target(external) else { return PASS };
    if !target.direct {
        return PASS;
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
    let hop = match hop::to(context, head, backend.address(), now_ns) {
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
    // SAFETY: a pointer from the map, one load of an aligned word.
    let any = CONNTRACK_GATE.get_ptr(0).is_some_and(|gate| unsafe { gate.read_volatile() } != 0);
    if opens || !any {
        return true;
    }
    let tuple = Tuple {
        source,
        destination: Address4(head.ip.destination).to_mapped(),
        source_port: Port(head.source_port),
        destination_port: Port(head.destination_port),
        protocol: head.ip.protocol,
        pad: [0; 3],
    };
    CONNTRACK.get_ptr(&tuple).is_none() && CONNTRACK_NEW.get_ptr(&tuple).is_none()
}

/// A connection that begins here stays at its backend, on this node or another.
#[inline(always)]
fn remember(head: &Head, opens: bool, hash: u64, backend: Backend, age: u32) {
    if opens && head.ip.protocol == protocol::TCP && !known::put(head, hash, backend, age) {
        count(Verdict::Unwritten);
    }
}
