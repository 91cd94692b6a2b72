//! The way to an address: asked of the kernel's routes and neighbours, and remembered for a second.

use aya_ebpf::{bindings::bpf_fib_lookup as FibLookup, helpers::bpf_fib_lookup, programs::XdpContext};
use keelson_ebpf_common::{
    limits::HOPS_MAX,
    net::Address6,
    packet::Tuple,
    wire::{HOP_NS_LOG2, Hop},
};

use crate::{
    node::uplink,
    state::{HOPS, QUESTION, Question},
};

/// Where packets to an address go.
pub enum Way {
    /// Back out by the wire.
    Wire(&'static Hop),
    /// Elsewhere: to this node itself, a pod of it, another device.
    Other,
    /// Nowhere that is known.
    None,
}

/// The way to an address, IPv4 in mapped form; for a packet of the flow that is given, if the kernel has to be asked.
#[inline(always)]
pub fn to(context: &XdpContext, address: Address6, now_ns: u64, flow: impl FnOnce() -> Tuple) -> Way {
    let [a, b, c, d] = address.0;
    let word = a ^ b.rotate_left(8) ^ c.rotate_left(16) ^ d;
    let index = word.wrapping_mul(0x9e37_79b9) >> (32 - HOPS_MAX.ilog2());
    let Some(place) = HOPS.get_ptr_mut(index) else { return Way::None };
    let now = (now_ns >> HOP_NS_LOG2) as u32;
    // SAFETY: a pointer from the map, of this CPU alone, as long as no other program on the wire interrupts this one: none does.
    let hop = unsafe { &mut *place };
    if hop.address != address || hop.asked != now {
        let Some(question) = QUESTION.get_ptr_mut(0) else { return Way::None };
        // SAFETY: as above.
        let question = unsafe { &mut *question };
        question.flow = flow();
        if !ask(context, question, now, hop) {
            return Way::None;
        }
    }
    if hop.mtu == 0 { Way::Other } else { Way::Wire(hop) }
}

/// Asks the kernel. When it has no answer now, what was known of the same address goes on to count.
#[inline(never)]
fn ask(context: &XdpContext, question: &mut Question, now: u32, hop: &mut Hop) -> bool {
    /// `BPF_FIB_LKUP_RET_SUCCESS`; `_NOT_FWDED`: it is for the node itself; `_NO_NEIGH`: the device is known.
    const FOUND: i64 = 0;
    const NOT_FORWARDED: i64 = 4;
    const NO_NEIGHBOUR: i64 = 7;
    const AF_INET: u8 = 2;
    const AF_INET6: u8 = 10;
    let Question { flow, route } = question;
    // SAFETY: integers and unions of integers.
    *route = unsafe { core::mem::zeroed() };
    route.l4_protocol = flow.protocol;
    (route.sport, route.dport) = (flow.source_port.0, flow.destination_port.0);
    route.ifindex = uplink();
    if flow.destination.mapped().is_some() {
        route.family = AF_INET;
        route.__bindgen_anon_3.ipv4_src = flow.source.0[3];
        route.__bindgen_anon_4.ipv4_dst = flow.destination.0[3];
    } else {
        route.family = AF_INET6;
        route.__bindgen_anon_3.ipv6_src = flow.source.0;
        route.__bindgen_anon_4.ipv6_dst = flow.destination.0;
    }
    // SAFETY: the kernel's context and a structure of the size stated.
    let answer =
        unsafe { bpf_fib_lookup(context.ctx.cast(), &raw mut *route, size_of::<FibLookup>() as i32, 0) }
            as i64;
    let elsewhere = answer == NO_NEIGHBOUR && route.ifindex != uplink();
    if answer != FOUND && answer != NOT_FORWARDED && !elsewhere {
        return hop.address == flow.destination;
    }
    // SAFETY: both members of the union are the same two bytes.
    let mtu = u32::from(unsafe { route.__bindgen_anon_1.mtu_result });
    let by_wire = answer == FOUND && route.ifindex == uplink();
    let word = |mac: [u8; 6], n: usize| u16::from_ne_bytes([mac[n], mac[n + 1]]);
    hop.mac_destination = [word(route.dmac, 0), word(route.dmac, 2), word(route.dmac, 4)];
    hop.mac_source = [word(route.smac, 0), word(route.smac, 2), word(route.smac, 4)];
    // A kernel that does not tell lets everything pass.
    hop.mtu = if !by_wire {
        0
    } else if mtu == 0 {
        u32::from(u16::MAX)
    } else {
        mtu
    };
    (hop.address, hop.asked) = (flow.destination, now);
    true
}
