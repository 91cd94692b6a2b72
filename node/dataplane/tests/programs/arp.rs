//! ARP for load balancers' addresses that this node answers for.

use crate::{lab::Lab, packet::HOST_MAC};

const ASKING: [u8; 6] = [2, 0, 0, 0, 0, 9];

/// A question of 192.0.2.9 for an address.
fn question(target: [u8; 4]) -> Vec<u8> {
    let header = [8, 6, 0, 1, 8, 0, 6, 4, 0, 1];
    [&[0xff; 6][..], &ASKING, &header, &ASKING, &[192, 0, 2, 9], &[0; 6], &target].concat()
}

#[test]
fn only_an_announced_address_is_answered_for() {
    let Some(mut lab) = Lab::new("arp") else { return };
    let address = "203.0.113.7".parse().unwrap();
    let packets = lab.dataplane.packets().unwrap();
    packets.announce(&[address].into()).unwrap();
    let (verdict, bytes) = lab.bytes("from_uplink", "uplink", &question([203, 0, 113, 7]));
    let own: [u8; 6] = bytes[6..12].try_into().unwrap();
    assert!(own != ASKING && own != [0; 6] && own != HOST_MAC, "the uplink's address: {own:?}");
    let header = [8, 6, 0, 1, 8, 0, 6, 4, 0, 2];
    let answer = [&ASKING[..], &own, &header, &own, &[203, 0, 113, 7], &ASKING, &[192, 0, 2, 9]].concat();
    assert_eq!((verdict, bytes), (7, answer));
    // Another's address, an answer, another protocol's question, half a question: the stack's affair.
    let mut reply = question([203, 0, 113, 7]);
    reply[21] = 2;
    let mut foreign = question([203, 0, 113, 7]);
    foreign[16] = 0x86;
    let short = question([203, 0, 113, 7])[..36].to_vec();
    for other in [question([203, 0, 113, 8]), reply, foreign, short] {
        assert_eq!(lab.bytes("from_uplink", "uplink", &other), (-1, other));
    }
    lab.dataplane.packets().unwrap().announce(&[].into()).unwrap();
    let gone = question([203, 0, 113, 7]);
    assert_eq!(lab.bytes("from_uplink", "uplink", &gone), (-1, gone));
}
