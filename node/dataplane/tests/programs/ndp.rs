//! Neighbour discovery for load balancers' IPv6 addresses that this node answers for.

use std::net::Ipv6Addr;

use crate::{lab::Lab, packet::HOST_MAC};

const ASKING: [u8; 6] = [2, 0, 0, 0, 0, 9];
const ANNOUNCED: &str = "2001:db8::7";

/// What a link says to another of an address: a solicitation or an advertisement, with an option of a hardware address.
fn message(kind: u8, from: &str, target: &str, option: &[u8], hops: u8) -> Vec<u8> {
    let (from, target): (Ipv6Addr, Ipv6Addr) = (from.parse().unwrap(), target.parse().unwrap());
    let group: Ipv6Addr = "ff02::1:ff00:7".parse().unwrap();
    let icmp = [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &target.octets(), option].concat();
    let head = [0x60, 0, 0, 0, 0, icmp.len() as u8, 58, hops];
    let to = [0x33, 0x33, 0xff, 0, 0, 7];
    [&to[..], &ASKING, &[0x86, 0xdd], &head, &from.octets(), &group.octets(), &icmp].concat()
}

fn question(from: &str, target: &str) -> Vec<u8> {
    message(135, from, target, &[&[1, 1][..], &ASKING].concat(), 255)
}

#[test]
fn only_an_announced_address_is_answered_for() {
    let Some(mut lab) = Lab::new("ndp") else { return };
    lab.dataplane.packets().unwrap().announce(&[ANNOUNCED.parse().unwrap()].into()).unwrap();
    // Who asks; with further options or none; whom the answer is for, and whether it is one.
    let nonce = [&[1, 1][..], &ASKING, &[14, 1, 1, 2, 3, 4, 5, 6]].concat();
    let rows = [
        (question("2001:db8::9", ANNOUNCED), "2001:db8::9", ASKING, 0x60),
        (message(135, "fe80::9", ANNOUNCED, &nonce, 255), "fe80::9", ASKING, 0x60),
        (message(135, "::", ANNOUNCED, &[], 255), "ff02::1", [0x33, 0x33, 0, 0, 0, 1], 0x20),
    ];
    for (asked, to, to_mac, flags) in rows {
        let (verdict, bytes) = lab.bytes("from_uplink", "uplink", &asked);
        let own: [u8; 6] = bytes[6..12].try_into().unwrap();
        assert!(own != ASKING && own != [0; 6] && own != HOST_MAC, "the uplink's address: {own:?}");
        let (to, target): (Ipv6Addr, Ipv6Addr) = (to.parse().unwrap(), ANNOUNCED.parse().unwrap());
        let summed = [&bytes[22..54], &[0, 0, 0, 32, 0, 0, 0, 58], &bytes[54..]].concat();
        let sum = summed.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum::<u32>();
        assert_eq!(sum % 0xffff, 0, "the checksum");
        let mut answer = [&to_mac[..], &own, &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255]].concat();
        answer.extend([&target.octets()[..], &to.octets(), &[136, 0], &bytes[56..58]].concat());
        answer.extend([&[flags, 0, 0, 0][..], &target.octets(), &[2, 1], &own].concat());
        assert_eq!((verdict, bytes), (7, answer));
    }
    // Another's address, an answer, one that has passed a router, half a question: the stack's affair.
    let option = [&[2, 1][..], &ASKING].concat();
    let others = [
        question("2001:db8::9", "2001:db8::8"),
        message(136, "2001:db8::9", ANNOUNCED, &option, 255),
        message(135, "2001:db8::9", ANNOUNCED, &[], 254),
        question("2001:db8::9", ANNOUNCED)[..70].to_vec(),
    ];
    for other in others {
        assert_eq!(lab.bytes("from_uplink", "uplink", &other), (-1, other));
    }
    lab.dataplane.packets().unwrap().announce(&[].into()).unwrap();
    let gone = question("2001:db8::9", ANNOUNCED);
    assert_eq!(lab.bytes("from_uplink", "uplink", &gone), (-1, gone));
}
