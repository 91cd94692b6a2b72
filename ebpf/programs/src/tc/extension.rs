//! What lies between IPv6's header and the transport's (RFC 8200, 4): walked, never changed.
//!
//! What is not looked behind (a way that is still to be gone, encryption, authentication, more headers than these) leaves the packet
//! without a flow: nobody translates it, and policies let it pass where they name no ports.

use keelson_ebpf_common::packet::protocol::FRAGMENT;

use crate::{
    ip::{Carried, Part},
    skb::Skb,
};

/// Hop-by-hop options.
const HOP_BY_HOP: u8 = 0;
/// A way by which the packet goes.
const ROUTING: u8 = 43;
/// Options for the destination.
pub const DESTINATION: u8 = keelson_ebpf_common::wire::DESTINATION_OPTIONS;

/// How many are looked behind: one of each kind, and a second one of options for the destination, as RFC 8200, 4.1 orders them.
const EXTENSIONS_MAX: u32 = 5;

/// Whether a header of this number is none of a transport.
#[inline(always)]
pub const fn is_extension(number: u8) -> bool {
    matches!(number, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION)
}

/// Goes on from the header that `carried` tells to what it carries in the end.
///
/// `carried` lies in a map, of which the verifier remembers nothing: each turn is the same to it.
#[inline(never)]
pub fn walk(skb: Skb, carried: &mut Carried) {
    for _ in 0..EXTENSIONS_MAX {
        let kind = carried.protocol;
        if !is_extension(kind) {
            return;
        }
        // All have eight bytes at least.
        let Some([next, units, third, fourth, rest @ ..]) = skb.load::<[u8; 8]>(carried.at) else { return };
        let mut bytes = (u32::from(units) + 1) * 8;
        if kind == FRAGMENT {
            bytes = 8;
            let field = u16::from_be_bytes([third, fourth]);
            let (later, more) = (field & !7 != 0, field & 1 != 0);
            carried.id = u32::from_ne_bytes(rest);
            carried.part = match (later, more) {
                (true, _) => Part::Later,
                (false, true) => Part::First,
                (false, false) => Part::Whole,
            };
            if later {
                (carried.protocol, carried.at) = (next, carried.at + bytes);
                return;
            }
        } else if kind == ROUTING && fourth != 0 {
            // Segments are left: the destination is another one than this.
            return;
        }
        (carried.protocol, carried.at) = (next, carried.at + bytes);
    }
}
