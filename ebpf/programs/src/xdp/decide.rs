//! What becomes of a packet.

use aya_ebpf::programs::XdpContext;
use keelson_ebpf_common::{
    key::{Frontend4, Frontend6},
    net::{Address4, Address6, Port},
};

use crate::{
    direct,
    frame::{self, Head, PASS},
    headers::{self, Head6},
    node::node6,
    outside,
    state::{WIRE_FRONTENDS, translates},
    translate,
};

#[inline(always)]
pub fn run(context: &XdpContext) -> u32 {
    if let Some(place) = frame::head(context) {
        return four(context, place);
    }
    match headers::head6(context) {
        Some(place) if has_six() => six(context, place),
        _ => PASS,
    }
}

/// Whether the node has an address of IPv6; else no Service of it leads anywhere by the wire.
#[inline(always)]
fn has_six() -> bool {
    let [a, b, c, d] = node6();
    a | b | c | d != 0
}

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
    let Some(external) = outside::external(&frontend) else {
        if translates() != 0 && translate::may_be_answer(head, head.destination_port) {
            return translate::answer(context, place);
        }
        return PASS;
    };
    match outside::target(external) {
        Some(target) if target.direct => direct::six(context, place, external.number),
        Some(_) if translates() != 0 => translate::ask(context, place, external.number),
        _ => PASS,
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
    direct::send_on(context, place, &target, external.number)
}
