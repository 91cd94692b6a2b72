//! ICMP "fragmentation needed" (RFC 1191) and "packet too big" (RFC 4443) back to whoever sent a packet that is too long for its way.

use aya_ebpf::{
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    programs::XdpContext,
};
use keelson_ebpf_common::{
    packet::{Tuple, protocol},
    wire::Verdict,
};

use crate::{
    frame::{self, DROP, ETHERNET, Ethernet, Head, IPV4, Ipv4, Ipv6, TX, fold, halves},
    headers::{Head6, IPV6},
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

/// What an error of IPv6 is about, and what it puts before that.
const ABOUT6: usize = IPV6 + 8;
const BEFORE6: usize = IPV6 + 8;

#[repr(C, packed(2))]
struct Answer6 {
    ethernet: Ethernet,
    ip: Ipv6,
    icmp: [u16; 4],
    about: [u16; ABOUT6 / 2],
}

const _: () = assert!(size_of::<Answer6>() == ETHERNET + BEFORE6 + ABOUT6);

/// The same for IPv6. The packet's addresses come from its flow, which does not lie in the packet, for it moves.
#[inline(never)]
pub fn answer6(context: &XdpContext, head: &Head6, from: &Tuple, mtu: u32) -> u32 {
    let ethernet = Ethernet {
        destination: head.ethernet.source,
        source: head.ethernet.destination,
        ether_type: head.ethernet.ether_type,
    };
    let excess = IPV6 as u32 + u32::from(u16::from_be(head.ip.payload_length)) - ABOUT6 as u32;
    // SAFETY: the kernel's context; nothing that pointed into the packet is used again.
    let failed = unsafe {
        bpf_xdp_adjust_tail(context.ctx, -(excess as i32)) != 0
            || bpf_xdp_adjust_head(context.ctx, -(BEFORE6 as i32)) != 0
    };
    if failed {
        return DROP;
    }
    let Some(answer) = frame::at::<Answer6>(context, 0) else { return DROP };
    // SAFETY: inside of the packet (`at` checks).
    let answer = unsafe { &mut *answer };
    answer.ethernet = ethernet;
    answer.ip.version_class_label = 0x6000_0000_u32.to_be();
    answer.ip.payload_length = ((8 + ABOUT6) as u16).to_be();
    (answer.ip.next_header, answer.ip.hops) = (protocol::ICMP6, 64);
    (answer.ip.source, answer.ip.destination) = (from.destination.0, from.source.0);
    // Type 2, code 0; the checksum; the length in a word.
    answer.icmp = [0x0200_u16.to_be(), 0, 0, (mtu as u16).to_be()];
    // The checksum counts addresses, length and protocol.
    let addresses = |[a, b, c, d]: [u32; 4]| halves(a) + halves(b) + halves(c) + halves(d);
    let mut sum = addresses(from.source.0)
        + addresses(from.destination.0)
        + u32::from(((8 + ABOUT6) as u16).to_be())
        + u32::from(u16::from(protocol::ICMP6).to_be())
        + u32::from(0x0200_u16.to_be())
        + u32::from((mtu as u16).to_be());
    for word in &answer.about {
        sum += u32::from(*word);
    }
    answer.icmp[1] = !fold(sum);
    count(Verdict::TooLong);
    TX
}
