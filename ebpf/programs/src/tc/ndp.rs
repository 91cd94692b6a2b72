//! Neighbour discovery for load balancers' IPv6 addresses: no link has them, so the stack would not answer (RFC 4861, 7.2). As
//! [`crate::arp`] for IPv4.

use aya_ebpf::helpers::bpf_redirect;
use keelson_ebpf_common::{drop::Reason, net::Address6};

use crate::{
    answer::resize,
    ip::{Hop, Ip, fold},
    skb::{ETHERNET, PASS, Plain, Skb},
    state::ANNOUNCED,
};

/// A solicitation without its options. Wire order.
#[repr(C)]
#[derive(Clone, Copy)]
struct Solicitation {
    icmp_type: u8,
    code: u8,
    checksum: u16,
    reserved: u32,
    target: Address6,
}

/// An advertisement with the one option that it needs. Wire order.
#[repr(C)]
#[derive(Clone, Copy)]
struct Advertisement {
    icmp_type: u8,
    code: u8,
    checksum: u16,
    flags: u32,
    target: Address6,
    option_type: u8,
    /// In units of eight bytes.
    option_length: u8,
    mac: [u8; 6],
}

const _: () = assert!(size_of::<Solicitation>() == 24 && size_of::<Advertisement>() == 32);
// SAFETY: integers without gaps (asserted).
unsafe impl Plain for Solicitation {}
// SAFETY: as above.
unsafe impl Plain for Advertisement {}

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// It was asked for; and it counts more than what the asker knew.
const SOLICITED: u32 = 1 << 30;
const OVERRIDE: u32 = 1 << 29;
/// What has passed a router is no neighbour's.
const HOPS: u8 = 255;
/// All nodes of the link (RFC 4291, 2.7.1), and the hardware address that stands for them.
const ALL_NODES: Address6 = Address6([0xff02_0000_u32.to_be(), 0, 0, 1_u32.to_be()]);
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

/// Answers a solicitation for an address that this node announces, in place; everything else goes on.
///
/// Its checksum is not looked at, no more than ARP has one: a link drops what it has damaged.
#[inline(never)]
pub fn answer<I: Ip>(skb: Skb, ip: &mut I) -> i32 {
    let Some(asked) = skb.load::<Solicitation>(I::HEAD) else { return PASS };
    if asked.icmp_type != SOLICITATION || asked.code != 0 || ip.hops() != HOPS {
        return PASS;
    }
    // SAFETY: as in `arp::answer`.
    let Some(announced) = (unsafe { ANNOUNCED.get(&asked.target) }) else { return PASS };
    let mac = announced.mac;
    match write(skb, ip, asked.target, mac) {
        // SAFETY: takes no pointer.
        Ok(()) => unsafe { bpf_redirect(skb.ifindex(), 0) as i32 },
        Err(reason) => crate::skb::drop(reason),
    }
}

#[inline(always)]
fn write<I: Ip>(skb: Skb, ip: &mut I, target: Address6, mac: [u8; 6]) -> Result<(), Reason> {
    // Who has no address yet wants to take this one: all are told that it is taken.
    let nobody = ip.source().0 == [0; 4];
    let (to, to_mac) = if nobody { (ALL_NODES, ALL_NODES_MAC) } else { (ip.source(), ip.macs().1) };
    let mut answer = Advertisement {
        icmp_type: ADVERTISEMENT,
        code: 0,
        checksum: 0,
        flags: (if nobody { OVERRIDE } else { SOLICITED | OVERRIDE }).to_be(),
        target,
        option_type: 2,
        option_length: 1,
        mac,
    };
    let length = size_of::<Advertisement>() as u32;
    answer.checksum = !fold(sum(&answer, &to, length));
    resize(skb, I::HEAD + length)?;
    ip.set_length((I::HEAD + length - ETHERNET) as u16);
    ip.store(skb, &target, &to, Hop { counted: false, macs: Some((to_mac, mac)) })?;
    skb.store(I::HEAD, &answer)
}

/// Of the advertisement and its pseudo-header: the source is the target.
#[inline(always)]
fn sum(answer: &Advertisement, to: &Address6, length: u32) -> u32 {
    let mut sum = length.to_be() >> 16;
    sum += u32::from(u16::from(keelson_ebpf_common::packet::protocol::ICMP6).to_be());
    sum += u32::from(u16::from_ne_bytes([answer.icmp_type, answer.code]));
    sum += halves(answer.flags);
    sum += u32::from(u16::from_ne_bytes([answer.option_type, answer.option_length]));
    let [a, b, c, d, e, f] = answer.mac;
    for pair in [[a, b], [c, d], [e, f]] {
        sum += u32::from(u16::from_ne_bytes(pair));
    }
    let (Address6([a, b, c, d]), Address6([e, f, g, h])) = (answer.target, *to);
    // As the source, and as what is told of.
    sum += 2 * (halves(a) + halves(b) + halves(c) + halves(d));
    sum + halves(e) + halves(f) + halves(g) + halves(h)
}

#[inline(always)]
fn halves(word: u32) -> u32 {
    (word & 0xffff) + (word >> 16)
}
