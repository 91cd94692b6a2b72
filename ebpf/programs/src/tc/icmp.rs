//! ICMP errors about a translated packet: what the sender is told is about the packet that it sent.
//!
//! Accepted flaw: the checksum of the transport inside the error stays that of the translated packet, but for ICMP of IPv4;
//! nobody looks at it.

use aya_ebpf::helpers::bpf_csum_diff;
use keelson_ebpf_common::{
    net::{Address4, Address6, Port},
    packet::{Tuple, protocol},
};

use crate::{
    flows,
    ip::{Ip, V4, V6, fold},
    skb::{Plain, Skb},
    transport::{Passage, replace, sum_addresses},
};

/// Types of RFC 792: unreachable, source quench, time exceeded, parameter problem.
const ERRORS: [u8; 4] = [3, 4, 11, 12];

/// What an error holds of the packet that it is about: the header without options, and eight bytes. Wire order.
#[repr(C)]
#[derive(Clone, Copy)]
struct Inner {
    version_and_length: u8,
    service: u8,
    length_id_fragment: [u16; 3],
    hops: u8,
    protocol: u8,
    checksum: u16,
    source: u32,
    destination: u32,
    /// Ports of TCP and UDP; type, code and checksum of ICMP.
    first: [u16; 2],
    /// Of ICMP echo the identifier, then its number.
    second: [u16; 2],
}

const _: () = assert!(size_of::<Inner>() == 28);
// SAFETY: integers without gaps (asserted).
unsafe impl Plain for Inner {}

/// What has become of a packet. A number, not a `Result`: see [`Passage`] for what the verifier thinks of those.
pub type Outcome = u32;
/// It is no error about a flow of ours.
pub const NOT_OURS: Outcome = 0;
/// What is inside is translated.
pub const TRANSLATED: Outcome = 1;
/// It is to be dropped, as it could not be written.
pub const UNWRITABLE: Outcome = 2;

/// Translates what is inside, and tells the addresses of the error itself.
#[inline(always)]
pub fn translate<I: Ip>(skb: Skb, passage: &mut Passage) -> Outcome {
    let Passage { from, to, carried, .. } = passage;
    if carried.protocol != I::ICMP || !flows::any() {
        return NOT_OURS;
    }
    if I::FAMILY == V4::FAMILY {
        translate4(skb, carried.at, from, to)
    } else {
        translate6(skb, carried.at, from, to)
    }
}

/// What became of the packet inside, whose answers are `back`; as for answers, a pod's to a Service whose backend is outside was
/// translated twice.
#[inline(always)]
fn find(back: &Tuple, to: &mut Tuple) -> bool {
    if !flows::peek(back, to) {
        return false;
    }
    let between = *to;
    flows::peek(&between, to);
    true
}

/// The addresses of the error itself: who sent it is a router, or the backend itself, which nobody knows.
#[inline(always)]
fn address(from: &Tuple, back: &Tuple, to: &mut Tuple) {
    if from.source != back.source {
        to.source = from.source;
    }
    (to.source_port, to.destination_port, to.protocol) = (Port(0), Port(0), from.protocol);
}

#[inline(never)]
fn translate4(skb: Skb, at: u32, from: &Tuple, to: &mut Tuple) -> Outcome {
    let Some(icmp_type) = skb.load::<u8>(at) else { return NOT_OURS };
    if !ERRORS.contains(&icmp_type) {
        return NOT_OURS;
    }
    let Some(mut old) = skb.load::<Inner>(at + 8) else { return NOT_OURS };
    // The error goes the way of the answers.
    let mut back = Tuple::of_addresses(Address6([0; 4]), Address6([0; 4]), old.protocol);
    if !read_reversed(&old, &mut back) || !find(&back, to) {
        return NOT_OURS;
    }
    let mut new = old;
    put_reversed(&mut new, to);
    let size = size_of::<Inner>() as u32;
    // SAFETY: both are memory of the size stated.
    let difference = unsafe { bpf_csum_diff((&raw mut old).cast(), size, (&raw mut new).cast(), size, 0) };
    address(from, &back, to);
    let written =
        replace(skb, at + 2, 0, difference as u64 & 0xffff_ffff, 0).and_then(|()| skb.store(at + 8, &new));
    if written.is_ok() { TRANSLATED } else { UNWRITABLE }
}

/// Types of RFC 4443: unreachable, too big, time exceeded, parameter problem.
const ERRORS6: core::ops::RangeInclusive<u8> = 1..=4;

/// As [`Inner`], of IPv6 without extension headers.
#[repr(C)]
#[derive(Clone, Copy)]
struct Inner6 {
    version_class_label: u32,
    payload_length: u16,
    next_header: u8,
    hops: u8,
    source: [u32; 4],
    destination: [u32; 4],
    first: [u16; 2],
    second: [u16; 2],
}

const _: () = assert!(size_of::<Inner6>() == 48);
// SAFETY: integers without gaps (asserted).
unsafe impl Plain for Inner6 {}

#[inline(never)]
fn translate6(skb: Skb, at: u32, from: &Tuple, to: &mut Tuple) -> Outcome {
    let Some(icmp_type) = skb.load::<u8>(at) else { return NOT_OURS };
    if !ERRORS6.contains(&icmp_type) {
        return NOT_OURS;
    }
    let Some(mut old) = skb.load::<Inner6>(at + 8) else { return NOT_OURS };
    let mut back = Tuple::of_addresses(Address6([0; 4]), Address6([0; 4]), old.next_header);
    if !read_reversed6(&old, &mut back) || !find(&back, to) {
        return NOT_OURS;
    }
    let mut new = old;
    (new.source, new.destination) = (to.destination.0, to.source.0);
    if old.next_header == protocol::ICMP6 {
        new.second[0] = to.source_port.0 | to.destination_port.0;
    } else {
        new.first = [to.destination_port.0, to.source_port.0];
    }
    let size = size_of::<Inner6>() as u32;
    // SAFETY: both are memory of the size stated.
    let difference = unsafe { bpf_csum_diff((&raw mut old).cast(), size, (&raw mut new).cast(), size, 0) };
    address(from, &back, to);
    // Its own addresses count, too.
    let written = replace(skb, at + 2, 0, difference as u64 & 0xffff_ffff, 0)
        .and_then(|()| skb.store(at + 8, &new))
        .and_then(|()| sum_addresses(skb, at + 2, from, to, 0));
    if written.is_ok() { TRANSLATED } else { UNWRITABLE }
}

/// As [`read_reversed`].
#[inline(always)]
fn read_reversed6(inner: &Inner6, back: &mut Tuple) -> bool {
    (back.source, back.destination) = (Address6(inner.destination), Address6(inner.source));
    let icmp_type = (u16::from_be(inner.first[0]) >> 8) as u8;
    match inner.next_header {
        protocol::TCP | protocol::UDP | protocol::SCTP => {
            (back.destination_port, back.source_port) = (Port(inner.first[0]), Port(inner.first[1]));
        }
        protocol::ICMP6 if icmp_type == V6::ECHO.0 => back.destination_port = Port(inner.second[0]),
        protocol::ICMP6 if icmp_type == V6::ECHO.1 => back.source_port = Port(inner.second[0]),
        _ => return false,
    }
    true
}

/// The connection that an ICMP error is about, as policies know it: from the end that the error comes from to the one that
/// it is delivered to. Its protocol stays as it is if it is none. To be asked before the error is translated.
#[inline(always)]
pub fn about<I: Ip>(skb: Skb, passage: &mut Passage) {
    let Passage { about, carried, .. } = passage;
    if carried.protocol != I::ICMP {
        return;
    }
    if I::FAMILY == V4::FAMILY {
        about4(skb, carried.at, about);
    } else {
        about6(skb, carried.at, about);
    }
}

#[inline(never)]
fn about4(skb: Skb, at: u32, connection: &mut Tuple) {
    let Some(icmp_type) = skb.load::<u8>(at) else { return };
    if !ERRORS.contains(&icmp_type) {
        return;
    }
    let Some(inner) = skb.load::<Inner>(at + 8) else { return };
    if !read_reversed(&inner, connection) {
        return;
    }
    connection.protocol = inner.protocol;
    known_as(connection);
}

#[inline(never)]
fn about6(skb: Skb, at: u32, connection: &mut Tuple) {
    let Some(icmp_type) = skb.load::<u8>(at) else { return };
    if !ERRORS6.contains(&icmp_type) {
        return;
    }
    let Some(inner) = skb.load::<Inner6>(at + 8) else { return };
    if !read_reversed6(&inner, connection) {
        return;
    }
    connection.protocol = inner.next_header;
    known_as(connection);
}

/// Who is told knows the packet as he sent it.
#[inline(always)]
fn known_as(connection: &mut Tuple) {
    let mut to = *connection;
    if flows::any() && flows::peek(connection, &mut to) {
        (connection.destination, connection.destination_port) = (to.destination, to.destination_port);
    }
}

/// The flow of the packet inside, the other way round.
#[inline(always)]
fn read_reversed(inner: &Inner, back: &mut Tuple) -> bool {
    let later = u16::from_be(inner.length_id_fragment[2]) & 0x1fff != 0;
    if inner.version_and_length != 0x45 || later {
        return false;
    }
    back.source = Address4(inner.destination).to_mapped();
    back.destination = Address4(inner.source).to_mapped();
    let icmp_type = (u16::from_be(inner.first[0]) >> 8) as u8;
    match inner.protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP => {
            (back.destination_port, back.source_port) = (Port(inner.first[0]), Port(inner.first[1]));
        }
        protocol::ICMP if icmp_type == V4::ECHO.0 => back.destination_port = Port(inner.second[0]),
        protocol::ICMP if icmp_type == V4::ECHO.1 => back.source_port = Port(inner.second[0]),
        _ => return false,
    }
    true
}

/// Writes a flow into the packet inside, the other way round; the header's checksum stays right.
#[inline(always)]
fn put_reversed(inner: &mut Inner, back: &Tuple) {
    let (source, destination) = (back.destination.0[3], back.source.0[3]);
    let mut sum = u32::from(!inner.checksum);
    for (from, to) in [(inner.source, source), (inner.destination, destination)] {
        sum += u32::from(!(from as u16)) + u32::from(!((from >> 16) as u16)) + (to & 0xffff) + (to >> 16);
    }
    inner.checksum = !fold(sum);
    (inner.source, inner.destination) = (source, destination);
    if inner.protocol == protocol::ICMP {
        let id = back.source_port.0 | back.destination_port.0;
        inner.first[1] = !fold(u32::from(!inner.first[1]) + u32::from(!inner.second[0]) + u32::from(id));
        inner.second[0] = id;
    } else {
        inner.first = [back.destination_port.0, back.source_port.0];
    }
}
