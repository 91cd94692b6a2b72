//! ICMP "fragmentation needed" (RFC 1191) back to a client whose packet is too long for the way to its backend.

use aya_ebpf::{
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    programs::XdpContext,
};
use keelson_ebpf_common::{packet::protocol, wire::Verdict};

use crate::{
    frame::{self, DROP, ETHERNET, Ethernet, Head, IPV4, Ipv4, TX, fold, halves},
    state::count,
};

/// What the error is about: the header and eight bytes.
const ABOUT: usize = IPV4 + 8;
/// What it puts before that: its own header and ICMP's.
const BEFORE: usize = IPV4 + 8;

/// The error's headers, and what it is about as words. At multiples of two bytes.
#[repr(C, packed(2))]
struct Answer {
    ethernet: Ethernet,
    ip: Ipv4,
    icmp: [u16; 4],
    about: [u16; ABOUT / 2],
}

const _: () = assert!(size_of::<Answer>() == ETHERNET + BEFORE + ABOUT);

/// Answers from the Service's address that packets may have so many bytes.
#[inline(never)]
pub fn answer(context: &XdpContext, head: &Head, mtu: u32) -> u32 {
    let ethernet = Ethernet {
        destination: head.ethernet.source,
        source: head.ethernet.destination,
        ether_type: head.ethernet.ether_type,
    };
    let mut ip = Ipv4 {
        version_and_length: 0x45,
        // Internetwork control, as routers send their errors (RFC 1812, 4.3.2.5).
        service: 0xc0,
        total_length: ((BEFORE + ABOUT) as u16).to_be(),
        id: 0,
        fragment: 0,
        hops: 64,
        protocol: protocol::ICMP,
        checksum: 0,
        source: head.ip.destination,
        destination: head.ip.source,
    };
    let words = u32::from(u16::from_ne_bytes([0x45, 0xc0]))
        + u32::from(ip.total_length)
        + u32::from(u16::from_ne_bytes([64, protocol::ICMP]));
    ip.checksum = !fold(words + halves(ip.source) + halves(ip.destination));
    let excess = u32::from(u16::from_be(head.ip.total_length)) - ABOUT as u32;
    // SAFETY: the kernel's context; nothing that pointed into the packet is used again.
    let failed = unsafe {
        bpf_xdp_adjust_tail(context.ctx, -(excess as i32)) != 0
            || bpf_xdp_adjust_head(context.ctx, -(BEFORE as i32)) != 0
    };
    if failed {
        return DROP;
    }
    let Some(answer) = frame::at::<Answer>(context, 0) else { return DROP };
    // SAFETY: inside of the packet (`at` checks).
    let answer = unsafe { &mut *answer };
    // Type 3, code 4; the checksum; nothing; the length.
    let mut icmp = [0x0304_u16.to_be(), 0, 0, (mtu as u16).to_be()];
    let mut sum = u32::from(icmp[0]) + u32::from(icmp[3]);
    for word in answer.about {
        sum += u32::from(word);
    }
    icmp[1] = !fold(sum);
    (answer.ethernet, answer.ip, answer.icmp) = (ethernet, ip, icmp);
    count(Verdict::TooLong);
    TX
}
