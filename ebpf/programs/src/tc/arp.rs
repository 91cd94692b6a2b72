//! ARP for load balancers' addresses: no link has them, so the stack would not answer (RFC 826).

use aya_ebpf::helpers::bpf_redirect;
use keelson_ebpf_common::net::Address4;

use crate::{
    skb::{ETHERNET, PASS, Plain, Skb},
    state::ANNOUNCED,
};

/// Of IPv4 over Ethernet, in wire order.
#[repr(C)]
#[derive(Clone, Copy)]
struct Arp {
    hardware: u16,
    protocol: u16,
    lengths: [u8; 2],
    operation: u16,
    sender_mac: [u8; 6],
    sender: [u8; 4],
    target_mac: [u8; 6],
    target: [u8; 4],
}

const _: () = assert!(size_of::<Arp>() == 28);
// SAFETY: integers without gaps (asserted).
unsafe impl Plain for Arp {}

const REQUEST: u16 = 1_u16.to_be();
const REPLY: u16 = 2_u16.to_be();

/// Answers a request for an address that this node announces, in place; everything else goes on.
#[inline(never)]
pub fn answer(skb: Skb) -> i32 {
    let Some(asked) = skb.load::<Arp>(ETHERNET) else { return PASS };
    let of_ipv4 = asked.hardware == 1_u16.to_be() && asked.protocol == 0x0800_u16.to_be() && asked.lengths == [6, 4];
    if !of_ipv4 || asked.operation != REQUEST {
        return PASS;
    }
    let address = Address4(u32::from_ne_bytes(asked.target)).to_mapped();
    // SAFETY: the element is freed only after this program's end; one that is given to another address meanwhile has the same
    // hardware address.
    let Some(announced) = (unsafe { ANNOUNCED.get(&address) }) else { return PASS };
    let mac = announced.mac;
    let reply = Arp {
        operation: REPLY,
        sender_mac: mac,
        sender: asked.target,
        target_mac: asked.sender_mac,
        target: asked.sender,
        ..asked
    };
    let written = skb
        .store(0, &asked.sender_mac)
        .and_then(|()| skb.store(6, &mac))
        .and_then(|()| skb.store(ETHERNET, &reply));
    match written {
        // SAFETY: takes no pointer.
        Ok(()) => unsafe { bpf_redirect(skb.ifindex(), 0) as i32 },
        Err(_) => PASS,
    }
}
