//! Packets changed after they were made: with options and extension headers, in pieces, with other fields.

use std::net::SocketAddr;

use crate::packet::{socket, sum, word};

/// Numbers of extension headers (RFC 8200, 4).
pub(crate) const HOP_BY_HOP: u8 = 0;
pub(crate) const ROUTING: u8 = 43;
pub(crate) const FRAGMENT: u8 = 44;
pub(crate) const DESTINATION: u8 = 60;

/// Bytes of Ethernet and IP.
const HEAD4: usize = 34;
const HEAD6: usize = 54;

fn is_ipv4(packet: &[u8]) -> bool {
    packet[12..14] == [8, 0]
}

/// With the header's checksum, where it has one.
fn summed(mut packet: Vec<u8>) -> Vec<u8> {
    if is_ipv4(&packet) {
        let end = 14 + usize::from(packet[14] & 15) * 4;
        packet[24..26].copy_from_slice(&[0, 0]);
        let sum = !sum(&packet[14..end]);
        packet[24..26].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

/// The pieces of a packet, the first with so many bytes of transport (a multiple of 8).
pub(crate) fn fragments(packet: &[u8], first: usize, id: u16) -> [Vec<u8>; 2] {
    let head = if is_ipv4(packet) { HEAD4 } else { HEAD6 };
    let (one, two) = packet[head..].split_at(first);
    [piece(packet, one, 0, true, id), piece(packet, two, first as u16, false, id)]
}

/// A piece of a packet, which begins at `offset`.
fn piece(packet: &[u8], bytes: &[u8], offset: u16, more: bool, id: u16) -> Vec<u8> {
    if is_ipv4(packet) {
        let mut head = packet[..HEAD4].to_vec();
        head[16..18].copy_from_slice(&(20 + bytes.len() as u16).to_be_bytes());
        head[18..20].copy_from_slice(&id.to_be_bytes());
        head[20..22].copy_from_slice(&((offset / 8) | (u16::from(more) << 13)).to_be_bytes());
        return summed([&head, bytes].concat());
    }
    let [high, low] = (offset | u16::from(more)).to_be_bytes();
    let [id_high, id_low] = id.to_be_bytes();
    let mut whole = [&packet[..HEAD6], bytes].concat();
    whole[18..20].copy_from_slice(&(bytes.len() as u16).to_be_bytes());
    extended(&whole, FRAGMENT, &[high, low, 0, 0, id_high, id_low])
}

/// With an extension header right behind that of IPv6; `body` is what follows its first two bytes.
pub(crate) fn extended(packet: &[u8], kind: u8, body: &[u8]) -> Vec<u8> {
    let bytes = 2 + body.len();
    assert_eq!(bytes % 8, 0, "a header's length");
    let mut head = packet[..HEAD6].to_vec();
    head[18..20].copy_from_slice(&(word(packet, 18) + bytes as u16).to_be_bytes());
    head[20] = kind;
    let units = if kind == FRAGMENT { 0 } else { bytes / 8 - 1 };
    [&head[..], &[packet[20], units as u8], body, &packet[HEAD6..]].concat()
}

/// With what says which Service it is for: an option of eight bytes in the header, or an extension header of 24.
pub(crate) fn marked(packet: &[u8], service: &str) -> Vec<u8> {
    let service = socket(service);
    let port = service.port().to_be_bytes();
    match service {
        SocketAddr::V4(service) => {
            let mut head = packet[..HEAD4].to_vec();
            head[14] += 2;
            head[16..18].copy_from_slice(&(word(packet, 16) + 8).to_be_bytes());
            summed([&head[..], &[0x9a, 8], &port, &service.ip().octets(), &packet[HEAD4..]].concat())
        }
        SocketAddr::V6(service) => {
            let option = [&[0x5e, 20], &port[..], &[0, 0], &service.ip().octets()].concat();
            extended(packet, DESTINATION, &option)
        }
    }
}

/// Without "do not fragment".
pub(crate) fn dividable(mut packet: Vec<u8>) -> Vec<u8> {
    packet[20] &= !0x40;
    summed(packet)
}

pub(crate) fn with_hops(mut packet: Vec<u8>, hops: u8) -> Vec<u8> {
    let at = if is_ipv4(&packet) { 22 } else { 21 };
    packet[at] = hops;
    summed(packet)
}
