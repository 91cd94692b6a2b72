//! Answers that a program gives itself: echo for a Service's address, refusals for a Service without backends, how long a packet
//! may be.
//!
//! The packet is turned into its answer in place. Its checksum may be a partial one, which no program can see; so sums
//! are only ever changed by differences, by the helper that knows, and a TCP header keeps its place.

use aya_ebpf::{
    bindings::BPF_F_PSEUDO_HDR,
    helpers::{
        bpf_csum_diff, bpf_redirect, bpf_redirect_peer, bpf_skb_adjust_room, bpf_skb_change_tail,
        bpf_skb_load_bytes,
    },
};
use keelson_ebpf_common::drop::Reason;

use crate::{
    drops,
    ip::{Carried, Hop, Ip, Part},
    skb::{self, ETHERNET, Skb},
    transport::{Kind, Passage, replace, tcp},
};

/// Bytes of a TCP header without options, and of those at most.
const TCP: u32 = 20;
const OPTIONS_MAX: usize = 40;

/// Which way an answer goes back.
#[derive(Clone, Copy)]
pub enum Way {
    /// Into the pod that asked.
    Pod,
    /// Out by the device on which the question came.
    Wire,
}

impl Way {
    #[inline(always)]
    fn send(self, skb: Skb) -> i32 {
        // SAFETY: they take no pointer.
        unsafe {
            match self {
                Self::Pod => bpf_redirect_peer(skb.ifindex(), 0) as i32,
                Self::Wire => bpf_redirect(skb.ifindex(), 0) as i32,
            }
        }
    }
}

/// Answers ICMP echo.
#[inline(never)]
pub fn echo<I: Ip>(skb: Skb, ip: &mut I, passage: &Passage, way: Way) -> i32 {
    let at = passage.carried.at;
    let kind = |icmp_type: u8| u64::from(u16::from_ne_bytes([icmp_type, 0]));
    let made = replace(skb, at + 2, kind(I::ECHO.0), kind(I::ECHO.1), 2)
        .and_then(|()| skb.store(at, &I::ECHO.1))
        .and_then(|()| turn(skb, ip));
    match made {
        Ok(()) => way.send(skb),
        Err(reason) => skb::drop(reason),
    }
}

/// Refuses a packet to a Service without backends, as a closed port would.
#[inline(never)]
pub fn refuse<I: Ip>(skb: Skb, ip: &mut I, passage: &Passage, way: Way) -> i32 {
    let Carried { at, part, .. } = passage.carried;
    let made = match (passage.kind, part) {
        (Kind::Tcp, Part::Whole) => reset(skb, ip, at, passage.flags),
        (Kind::Udp | Kind::Sctp, Part::Whole | Part::First) => error(skb, ip, at, I::PORT_UNREACHABLE, 0),
        _ => Err(Reason::Unanswered),
    };
    match made {
        Ok(()) => {
            drops::count(Reason::Refused);
            way.send(skb)
        }
        Err(reason) => skb::drop(reason),
    }
}

/// Answers from the Service's address that packets may have so many bytes (RFC 1191, RFC 4443): a packet from the wire that may not
/// be divided is too long for the way to its backend.
#[inline(never)]
pub fn too_long<I: Ip>(skb: Skb, ip: &I, at: u32, mtu: u32) -> i32 {
    match error(skb, ip, at, I::TOO_LONG, mtu as u16) {
        Ok(()) => Way::Wire.send(skb),
        Err(reason) => skb::drop(reason),
    }
}

/// Source and destination change places.
#[inline(always)]
fn turn<I: Ip>(skb: Skb, ip: &mut I) -> Result<(), Reason> {
    let (to, from) = ip.macs();
    let (source, destination) = (ip.source(), ip.destination());
    ip.store(skb, &destination, &source, Hop { counted: false, macs: Some((from, to)) })
}

/// RFC 9293, 3.10.7.1: the answer of a closed port. Only to a packet without data, which every first one is: what comes
/// with data for a flow that nobody knows is dropped.
#[inline(never)]
fn reset<I: Ip>(skb: Skb, ip: &mut I, at: u32, flags: u8) -> Result<(), Reason> {
    let mut old: [u16; 10] = skb.load(at).ok_or(Reason::Unanswered)?;
    let header = u32::from(u16::from_be(old[6]) >> 12) * 4;
    if flags & tcp::RST != 0 || header < TCP || skb.len() != at + header {
        return Err(Reason::Unanswered);
    }
    let mut new = old;
    (new[0], new[1]) = (old[1], old[0]);
    let answer_flags = if flags & tcp::ACK != 0 {
        // Its sequence number is the one that the other side expects; it acknowledges nothing.
        (new[2], new[3], new[4], new[5]) = (old[4], old[5], 0, 0);
        tcp::RST
    } else {
        let length = u32::from(flags & tcp::SYN != 0) + u32::from(flags & tcp::FIN != 0);
        let sequence = u32::from(u16::from_be(old[2])) << 16 | u32::from(u16::from_be(old[3]));
        let next = sequence.wrapping_add(length);
        (new[2], new[3]) = (0, 0);
        (new[4], new[5]) = (((next >> 16) as u16).to_be(), (next as u16).to_be());
        tcp::RST | tcp::ACK
    };
    new[6] = (5_u16 << 12 | u16::from(answer_flags)).to_be();
    (new[7], new[9]) = (0, 0);
    let mut options = [0_u32; OPTIONS_MAX / 4];
    let options_length = header - TCP;
    if options_length > 0 && options_length <= OPTIONS_MAX as u32 {
        // SAFETY: as many bytes as there is room for.
        let failed = unsafe {
            bpf_skb_load_bytes(skb.0.cast(), at + TCP, options.as_mut_ptr().cast(), options_length)
        };
        if failed != 0 {
            return Err(Reason::Unanswered);
        }
    }
    // SAFETY: memory of the sizes stated; the options are taken out of the sum.
    let difference = unsafe {
        let header = bpf_csum_diff(old.as_mut_ptr().cast(), TCP, new.as_mut_ptr().cast(), TCP, 0);
        bpf_csum_diff(options.as_mut_ptr(), OPTIONS_MAX as u32, core::ptr::null_mut(), 0, header as u32)
    };
    replace(skb, at + 16, 0, difference as u64 & 0xffff_ffff, 0)?;
    // The length is in the pseudo-header.
    let length = |bytes: u32| u64::from((bytes as u16).to_be());
    replace(skb, at + 16, length(header), length(TCP), u64::from(BPF_F_PSEUDO_HDR) | 2)?;
    // All but the checksum, which is right already.
    let [a, b, c, d, e, f, g, h, _, urgent] = new;
    skb.store(at, &[a, b, c, d, e, f, g, h])?;
    skb.store(at + 18, &urgent)?;
    ip.set_length((at + TCP - ETHERNET) as u16);
    turn(skb, ip)?;
    resize(skb, at + TCP)
}

/// An ICMP error, with the header and eight bytes of the packet that it is about (RFC 792, RFC 4443).
///
/// A packet that came without its checksum, from a local link, may have it made later, inside of the error: then the
/// error's own is wrong. Receivers on this machine do not look, and from a wire no such packet comes.
#[inline(never)]
fn error<I: Ip>(skb: Skb, ip: &I, at: u32, kind: u16, mtu: u16) -> Result<(), Reason> {
    /// `BPF_ADJ_ROOM_MAC`.
    const AFTER_ETHERNET: u32 = 1;
    if at != I::HEAD {
        return Err(Reason::Unanswered);
    }
    resize(skb, I::HEAD + 8)?;
    // SAFETY: the kernel's context. New bytes come between the Ethernet header and what follows.
    let failed = unsafe { bpf_skb_adjust_room(skb.0, I::ERROR as i32, AFTER_ETHERNET, 0) };
    if failed != 0 {
        return Err(Reason::Unanswered);
    }
    ip.store_error(skb, kind, mtu)
}

/// Cuts a packet's end off, or adds to it.
#[inline(always)]
pub fn resize(skb: Skb, length: u32) -> Result<(), Reason> {
    // SAFETY: the kernel's context.
    let failed = unsafe { bpf_skb_change_tail(skb.0, length, 0) };
    if failed == 0 { Ok(()) } else { Err(Reason::Unwritable) }
}
