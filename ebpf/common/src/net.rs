//! Addresses and ports in the byte order of the wire, as the socket hooks see them.
//!
//! A big-endian number is kept as the native integer whose bytes in memory are in network order: the form of
//! `bpf_sock_addr.user_ip4`, so that a program compares and copies without swapping.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An IPv4 address; the four bytes in memory are the octets in order.
#[repr(transparent)]
#[derive(
    Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, FromBytes, Immutable, IntoBytes, KnownLayout,
)]
pub struct Address4(pub u32);

/// An IPv6 address as four words; the sixteen bytes in memory are the octets in order.
///
/// Also carries an IPv4 address in its mapped form (`::ffff:a.b.c.d`, RFC 4291 section 2.5.5.2) wherever one map
/// serves both families.
#[repr(transparent)]
#[derive(
    Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, FromBytes, Immutable, IntoBytes, KnownLayout,
)]
pub struct Address6(pub [u32; 4]);

/// A port; the two bytes in memory are in network order.
#[repr(transparent)]
#[derive(
    Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, FromBytes, Immutable, IntoBytes, KnownLayout,
)]
pub struct Port(pub u16);

/// The third word of a mapped address: `0000:ffff` on the wire.
const MAPPED_PREFIX: u32 = 0xffff_u32.to_be();

impl Address4 {
    /// From the usual form.
    pub const fn new(address: Ipv4Addr) -> Self {
        Self(u32::from_ne_bytes(address.octets()))
    }

    /// Back to the usual form.
    pub const fn to_ip(self) -> Ipv4Addr {
        let [a, b, c, d] = self.0.to_ne_bytes();
        Ipv4Addr::new(a, b, c, d)
    }

    /// The bit of the address's first half (a /16) among 2^`bits_log2`: word and mask. See
    /// [`crate::layout::PREFIXES4`].
    #[inline(always)]
    pub const fn prefix_bit(self, bits_log2: u32) -> (u32, u64) {
        let [a, b, ..] = self.0.to_ne_bytes();
        let bit = (u16::from_be_bytes([a, b]) as u32).wrapping_mul(0x9e37_79b9) >> (32 - bits_log2);
        (bit / u64::BITS, 1 << (bit % u64::BITS))
    }

    /// The mapped form, for maps that serve both families.
    #[inline(always)]
    pub const fn to_mapped(self) -> Address6 {
        Address6([0, 0, MAPPED_PREFIX, self.0])
    }
}

impl Address6 {
    /// From the usual form.
    pub const fn new(address: Ipv6Addr) -> Self {
        let o = address.octets();
        Self([
            u32::from_ne_bytes([o[0], o[1], o[2], o[3]]),
            u32::from_ne_bytes([o[4], o[5], o[6], o[7]]),
            u32::from_ne_bytes([o[8], o[9], o[10], o[11]]),
            u32::from_ne_bytes([o[12], o[13], o[14], o[15]]),
        ])
    }

    /// Either family; IPv4 becomes the mapped form.
    pub const fn from_ip(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Address4::new(v4).to_mapped(),
            IpAddr::V6(v6) => Self::new(v6),
        }
    }

    /// Back to the usual form; a mapped address becomes IPv4.
    pub fn to_ip(self) -> IpAddr {
        match self.mapped() {
            Some(v4) => IpAddr::V4(v4.to_ip()),
            None => {
                let mut octets = [0; 16];
                octets.copy_from_slice(self.as_bytes());
                IpAddr::V6(Ipv6Addr::from(octets))
            }
        }
    }

    /// The IPv4 address inside a mapped one.
    #[inline(always)]
    pub const fn mapped(self) -> Option<Address4> {
        let [a, b, c, d] = self.0;
        if a == 0 && b == 0 && c == MAPPED_PREFIX { Some(Address4(d)) } else { None }
    }
}

impl Port {
    /// From host order.
    pub const fn new(port: u16) -> Self {
        Self(port.to_be())
    }

    /// To host order.
    pub const fn number(self) -> u16 {
        u16::from_be(self.0)
    }
}

/// Transport protocols of Services, by their IANA number.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Protocol {
    /// `IPPROTO_TCP`.
    Tcp = 6,
    /// `IPPROTO_UDP`.
    Udp = 17,
    /// `IPPROTO_SCTP`. No socket hook sees it: its packets are translated, their addresses alone, as a changed port would break
    /// a checksum (CRC32c, RFC 9260, 6.8) over the whole packet.
    Sctp = 132,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_memory_are_in_wire_order() {
        assert_eq!(Address4::new(Ipv4Addr::new(10, 96, 0, 1)).as_bytes(), [10, 96, 0, 1]);
        assert_eq!(Port::new(0x1234).as_bytes(), [0x12, 0x34]);
        let v6: Ipv6Addr = "2001:db8::7".parse().unwrap();
        assert_eq!(Address6::new(v6).as_bytes(), v6.octets());
    }

    #[test]
    fn a_prefix_bit_is_that_of_the_first_two_octets_and_one_of_those_there_are() {
        let bit = |octets: [u8; 4]| Address4::new(octets.into()).prefix_bit(9);
        assert_eq!(bit([10, 96, 0, 1]), bit([10, 96, 255, 255]));
        assert_ne!(bit([10, 96, 0, 1]), bit([10, 244, 0, 1]));
        for second in 0..=255 {
            let (word, mask) = bit([10, second, 0, 1]);
            assert!(word < 8 && mask.is_power_of_two());
        }
    }

    #[test]
    fn both_families_survive_the_mapped_form() {
        for text in ["10.96.0.1", "255.255.255.255", "2001:db8::7", "::1", "::"] {
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(Address6::from_ip(ip).to_ip(), ip);
        }
        let mapped: Ipv6Addr = "::ffff:10.96.0.1".parse().unwrap();
        assert_eq!(Address6::new(mapped), Address4::new(Ipv4Addr::new(10, 96, 0, 1)).to_mapped());
    }
}
