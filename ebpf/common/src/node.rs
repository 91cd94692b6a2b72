//! What is the node's alone: its network namespace, its loopback addresses, and the node ports that no process may bind.
//!
//! Hooks follow the cgroup of a socket, not its namespace, so a program asks for the namespace before it treats a
//! socket as one of the node's own.

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::net::{Address4, Address6, Port, Protocol};

/// The programs' global with the cookie of the node's own network namespace; the loader writes it, 0 is nobody's.
pub const NETNS: &str = "NODE_NETNS";

/// What every address of 127.0.0.0/8 is looked up as: all of them are the node's (RFC 1122 section 3.2.1.3).
pub const LOOPBACK4: Address4 = Address4::new(Ipv4Addr::LOCALHOST);
/// IPv6 has one.
pub const LOOPBACK6: Address6 = Address6::new(Ipv6Addr::LOCALHOST);

/// The first octet, in the order of memory.
const FIRST_OCTET: u32 = u32::from_ne_bytes([0xff, 0, 0, 0]);
/// 127 there.
const LOOPBACK_OCTET: u32 = u32::from_ne_bytes([127, 0, 0, 0]);

/// Whether the address is one of 127.0.0.0/8.
#[inline(always)]
pub const fn is_loopback4(address: Address4) -> bool {
    address.0 & FIRST_OCTET == LOOPBACK_OCTET
}

/// The address that a frontend of the node has in the tables: all of 127.0.0.0/8 is one.
#[inline(always)]
pub const fn folded4(address: Address4) -> Address4 {
    if is_loopback4(address) { LOOPBACK4 } else { address }
}

/// Bits in a word of [`crate::layout::NODE_PORTS`].
const WORD_BITS: u32 = 64;
/// Words a protocol: a bit for each of 65,536 ports.
const PROTOCOL_WORDS: u32 = (1 << 16) / WORD_BITS;
/// Words of [`crate::layout::NODE_PORTS`]: TCP's, then UDP's (16 KiB).
pub const PORT_WORDS: u32 = 2 * PROTOCOL_WORDS;

/// Where the bit of a port is: index of the word, and the bit in it. `None` for protocols whose sockets no bind() hook sees.
#[inline(always)]
pub const fn port_bit(port: Port, protocol: u8) -> Option<(u32, u64)> {
    const TCP: u8 = Protocol::Tcp as u8;
    const UDP: u8 = Protocol::Udp as u8;
    let first = match protocol {
        TCP => 0,
        UDP => PROTOCOL_WORDS,
        _ => return None,
    };
    let number = port.number() as u32;
    Some((first + number / WORD_BITS, 1 << (number % WORD_BITS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_of_127_is_loopback_and_nothing_else() {
        for (octets, wanted) in [
            ([127, 0, 0, 1], true),
            ([127, 255, 3, 9], true),
            ([126, 0, 0, 127], false),
            ([10, 0, 0, 127], false),
        ] {
            assert_eq!(is_loopback4(Address4::new(octets.into())), wanted, "{octets:?}");
        }
    }

    #[test]
    fn every_port_of_both_protocols_has_a_bit_of_its_own() {
        let mut words = [0_u64; PORT_WORDS as usize];
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for port in 0..=u16::MAX {
                let (word, bit) = port_bit(Port::new(port), protocol as u8).unwrap();
                assert_eq!(words[word as usize] & bit, 0);
                words[word as usize] |= bit;
            }
        }
        assert!(words.iter().all(|word| *word == u64::MAX));
        assert_eq!(port_bit(Port::new(1), 132), None);
    }
}
