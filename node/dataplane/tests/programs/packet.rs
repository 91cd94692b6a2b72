//! Packets made and told: bytes from a few words, and a line of words from bytes, whose checksums must be right.

use std::net::{IpAddr, SocketAddr};

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

/// Options of a SYN: segment size, selective acknowledgements, timestamps, window scale.
const OPTIONS: [u8; 20] = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];

pub(crate) const POD_MAC: [u8; 6] = [10, 88, 10, 244, 1, 2];
pub(crate) const HOST_MAC: [u8; 6] = [0xee, 0x4b, 0x4c, 0, 0, 1];

pub(crate) fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

pub(crate) fn tcp(from: &str, to: &str, flags: u8) -> Vec<u8> {
    tcp_with(from, to, flags, b"")
}

pub(crate) fn tcp_with(from: &str, to: &str, flags: u8, data: &[u8]) -> Vec<u8> {
    let (from, to) = (socket(from), socket(to));
    let options: &[u8] = if flags & SYN != 0 { &OPTIONS } else { &[] };
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&from.port().to_be_bytes());
    bytes.extend_from_slice(&to.port().to_be_bytes());
    bytes.extend_from_slice(&0xffff_ffff_u32.to_be_bytes());
    bytes.extend_from_slice(&7_u32.to_be_bytes());
    bytes.push((((20 + options.len()) / 4) << 4) as u8);
    bytes.push(flags);
    bytes.extend_from_slice(&[0xfa, 0xf0, 0, 0, 0, 0]);
    bytes.extend_from_slice(options);
    bytes.extend_from_slice(data);
    datagram(from.ip(), to.ip(), 6, Some(16), bytes)
}

pub(crate) fn udp(from: &str, to: &str, data: &[u8]) -> Vec<u8> {
    let (from, to) = (socket(from), socket(to));
    datagram(from.ip(), to.ip(), 17, Some(6), udp_bytes(from, to, data))
}

/// Types of SCTP's chunks, in their order.
const CHUNKS: [&str; 15] = [
    "DATA",
    "INIT",
    "INIT-ACK",
    "SACK",
    "HEARTBEAT",
    "HEARTBEAT-ACK",
    "ABORT",
    "SHUTDOWN",
    "SHUTDOWN-ACK",
    "ERROR",
    "COOKIE-ECHO",
    "COOKIE-ACK",
    "ECNE",
    "CWR",
    "SHUTDOWN-COMPLETE",
];

/// SCTP of one chunk.
pub(crate) fn sctp(from: &str, to: &str, chunk: &str) -> Vec<u8> {
    let (from, to) = (socket(from), socket(to));
    let kind = CHUNKS.iter().position(|name| *name == chunk).unwrap_or_else(|| panic!("{chunk}?"));
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&from.port().to_be_bytes());
    bytes.extend_from_slice(&to.port().to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 0, 7, 0, 0, 0, 0, kind as u8, 0, 0, 8, 1, 2, 3, 4]);
    let sum = crc32c(&bytes);
    bytes[8..12].copy_from_slice(&sum.to_le_bytes());
    datagram(from.ip(), to.ip(), 132, None, bytes)
}

/// RFC 9260, appendix A.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| crc >> 1 ^ if crc & 1 == 0 { 0 } else { 0x82f6_3b78 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// An ICMPv6 error about a packet.
pub(crate) fn icmp6_error(from: &str, to: &str, kind: [u8; 2], about: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind[0], kind[1], 0, 0, 0, 0, 0, 0];
    bytes.extend_from_slice(&about[14..14 + 48]);
    datagram(from.parse().unwrap(), to.parse().unwrap(), 58, Some(2), bytes)
}

/// Of a protocol without ports.
pub(crate) fn bare(from: &str, to: &str, protocol: u8) -> Vec<u8> {
    datagram(from.parse().unwrap(), to.parse().unwrap(), protocol, None, vec![0; 16])
}

fn udp_bytes(from: SocketAddr, to: SocketAddr, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&from.port().to_be_bytes());
    bytes.extend_from_slice(&to.port().to_be_bytes());
    bytes.extend_from_slice(&(8 + data.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(data);
    bytes
}

/// UDP over IPv4 without a checksum.
pub(crate) fn udp_unsummed(from: &str, to: &str, data: &[u8]) -> Vec<u8> {
    let (from, to) = (socket(from), socket(to));
    datagram(from.ip(), to.ip(), 17, None, udp_bytes(from, to, data))
}

pub(crate) fn echo(from: &str, to: &str, id: u16, is_answer: bool) -> Vec<u8> {
    let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
    let [request, answer, protocol] = if from.is_ipv4() { [8, 0, 1] } else { [128, 129, 58] };
    let mut bytes = vec![if is_answer { answer } else { request }, 0, 0, 0];
    bytes.extend_from_slice(&id.to_be_bytes());
    bytes.extend_from_slice(&[0, 1]);
    bytes.extend_from_slice(b"0123456789abcdef");
    datagram(from, to, protocol, Some(2), bytes)
}

/// An ICMP error of IPv4 about a packet.
pub(crate) fn icmp_error(from: &str, to: &str, kind: [u8; 2], about: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind[0], kind[1], 0, 0, 0, 0, 5, 120];
    bytes.extend_from_slice(&about[14..14 + 28]);
    datagram(from.parse().unwrap(), to.parse().unwrap(), 1, Some(2), bytes)
}

fn datagram(
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    sum_at: Option<usize>,
    mut transport: Vec<u8>,
) -> Vec<u8> {
    if let Some(at) = sum_at {
        let sum = !sum(&[pseudo(from, to, protocol, transport.len()), transport.clone()].concat());
        transport[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    let mut bytes = [HOST_MAC, POD_MAC].concat();
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            bytes.extend_from_slice(&[8, 0]);
            let mut head = vec![0x45, 0];
            head.extend_from_slice(&(20 + transport.len() as u16).to_be_bytes());
            head.extend_from_slice(&[0x12, 0x34, 0x40, 0, 64, protocol, 0, 0]);
            head.extend_from_slice(&from.octets());
            head.extend_from_slice(&to.octets());
            let sum = !sum(&head);
            head[10..12].copy_from_slice(&sum.to_be_bytes());
            bytes.extend(head);
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            bytes.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0]);
            bytes.extend_from_slice(&(transport.len() as u16).to_be_bytes());
            bytes.extend_from_slice(&[protocol, 64]);
            bytes.extend_from_slice(&from.octets());
            bytes.extend_from_slice(&to.octets());
        }
        _ => panic!("two families"),
    }
    bytes.extend(transport);
    bytes
}

/// What transport checksums count besides the transport itself; nothing for ICMP of IPv4.
fn pseudo(from: IpAddr, to: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    if protocol == 1 {
        return Vec::new();
    }
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let tail = [&(length as u32).to_be_bytes()[..], &[0, 0, 0, protocol]].concat();
    [octets(from), octets(to), tail].concat()
}

/// RFC 1071, by the book.
pub(crate) fn sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

pub(crate) fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Ports that tests cannot know, as they are chosen at random.
pub(crate) fn port_of(packet: &[u8]) -> u16 {
    let at = if packet[12] == 8 { 34 } else { 54 };
    word(packet, at)
}

/// A packet in words.
///
/// # Panics
/// When a length or a checksum is wrong.
pub(crate) fn tell(frame: &[u8]) -> String {
    tell_ip(&frame[14..], true)
}

fn tell_ip(packet: &[u8], whole: bool) -> String {
    let (from, to, protocol, hops, transport, later) = if packet[0] >> 4 == 4 {
        let head = usize::from(packet[0] & 15) * 4;
        assert_eq!(sum(&packet[..head]), 0xffff, "the header's checksum");
        let octets = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).unwrap());
        assert!(!whole || usize::from(word(packet, 2)) == packet.len(), "the header's length");
        (octets(12), octets(16), packet[9], packet[8], &packet[head..], word(packet, 6) & 0x3fff)
    } else {
        let octets = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).unwrap());
        assert!(!whole || usize::from(word(packet, 4)) == packet.len() - 40, "the header's length");
        let (protocol, at, later) = behind_extensions(packet);
        (octets(8), octets(24), protocol, packet[7], &packet[at..], later)
    };
    let ports = |text: &str| {
        let socket = |ip, at| SocketAddr::new(ip, word(transport, at));
        format!("{text} {} > {}", socket(from, 0), socket(to, 2))
    };
    let unsummed = protocol == 17 && word(transport, 6) == 0;
    if protocol == 132 && whole && later == 0 {
        let zeroed = [&transport[..8], &[0; 4], &transport[12..]].concat();
        assert_eq!(crc32c(&zeroed).to_le_bytes(), transport[8..12], "the checksum of SCTP");
    } else if whole && later == 0 && !unsummed {
        let summed = [pseudo(from, to, protocol, transport.len()), transport.to_vec()].concat();
        assert_eq!(sum(&summed), 0xffff, "the transport's checksum");
    }
    let text = match protocol {
        _ if later & 0x1fff != 0 => format!("later {from} > {to}"),
        6 if !whole => ports("tcp"),
        6 => format!("{} {}", ports("tcp"), flags(transport[13])),
        17 => ports("udp"),
        132 if !whole => ports("sctp"),
        132 => format!("{} {}", ports("sctp"), CHUNKS[usize::from(transport[12])]),
        1 | 58 => match (protocol, transport[0]) {
            (1, 8) | (58, 128) => format!("echo {from} > {to} id {}", word(transport, 4)),
            (1, 0) | (58, 129) => format!("answer {from} > {to} id {}", word(transport, 4)),
            (_, kind) => {
                let about = tell_ip(&transport[8..], false);
                format!("error {kind}.{} {from} > {to} about [{about}]", transport[1])
            }
        },
        other => format!("protocol {other} {from} > {to}"),
    };
    let text = match packet {
        [0x47, ..] if packet[20..22] == [0x9a, 8] => {
            let octets = <[u8; 4]>::try_from(&packet[24..28]).unwrap();
            format!("{text} for {}", SocketAddr::new(octets.into(), word(packet, 22)))
        }
        [0x60, ..] if packet[6] == 60 && packet[41..44] == [2, 0x5e, 20] => {
            let octets = <[u8; 16]>::try_from(&packet[48..64]).unwrap();
            assert_eq!(word(packet, 46), 0, "what is always zero");
            format!("{text} for {}", SocketAddr::new(octets.into(), word(packet, 44)))
        }
        _ => text,
    };
    if hops == 64 || !whole { text } else { format!("{text} hops {hops}") }
}

/// The transport's number and offset in a packet of IPv6, and of a part of a datagram what IPv4 has in its header.
fn behind_extensions(packet: &[u8]) -> (u8, usize, u16) {
    let (mut kind, mut at) = (packet[6], 40);
    loop {
        let next = packet[at..].first().copied().unwrap_or_default();
        match kind {
            44 => match (word(packet, at + 2) & !7, packet[at + 3] & 1) {
                (0, 0) => at += 8,
                (0, _) => return (next, at + 8, 0x2000),
                (offset, more) => return (next, at + 8, (offset / 8) | (u16::from(more) << 13)),
            },
            0 | 43 | 60 => at += (usize::from(packet[at + 1]) + 1) * 8,
            _ => return (kind, at, 0),
        }
        kind = next;
    }
}

fn flags(flags: u8) -> String {
    let names = [(SYN, 'S'), (ACK, 'A'), (FIN, 'F'), (RST, 'R')];
    names.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| name).collect()
}
