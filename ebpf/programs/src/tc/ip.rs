//! Ethernet and IP headers: read at once, changed in memory, written back at once.
//!
//! In memory two bytes come before them, so that addresses lie where words do.

use core::mem::MaybeUninit;

use keelson_ebpf_common::{
    drop::Reason,
    net::{Address4, Address6},
    packet::protocol,
};

use crate::skb::{ETHERNET, Head, Skb};

/// Where a part of a datagram lies in it.
#[derive(Clone, Copy, Eq, PartialEq)]
#[repr(u8)]
pub enum Part {
    /// A datagram in one piece.
    Whole,
    /// The first piece.
    First,
    /// A later piece, without ports.
    Later,
}

/// What a packet carries, and where.
pub struct Carried {
    /// Offset of the transport header; of a later part, of what it carries.
    pub at: u32,
    /// Identification of the datagram that it is a part of, as it lies in the packet.
    pub id: u32,
    /// Number of the transport protocol; or of an extension header that is not looked behind.
    pub protocol: u8,
    pub part: Part,
}

/// What is to be changed besides addresses.
pub struct Hop {
    /// Takes one from the time to live.
    pub counted: bool,
    /// Hardware addresses, destination first.
    pub macs: Option<([u8; 6], [u8; 6])>,
}

impl Hop {
    /// Only addresses change: the packet stays on the way that it is on.
    pub const SAME: Self = Self { counted: false, macs: None };
}

/// The headers of one family.
pub trait Ip: Head {
    /// IANA number of its ICMP.
    const ICMP: u8;
    /// Types of its ICMP: echo, answer to it.
    const ECHO: (u8, u8);
    /// Whether checksums of its ICMP count the addresses.
    const ICMP_HAS_PSEUDO_HEADER: bool;
    /// Address family, as socket calls number it.
    const FAMILY: u8;
    /// Whether identifications of datagrams in parts are of a protocol each.
    const ID_OF_PROTOCOL: bool;
    /// Whether other headers may come before the transport's.
    const EXTENDS: bool;
    /// Bytes of the Ethernet and IP headers without options.
    const HEAD: u32;
    /// Bytes that an ICMP error puts before what it is about.
    const ERROR: u32 = Self::HEAD - ETHERNET + 8;
    /// Type and code of such an error, host order: nobody listens at the port.
    const PORT_UNREACHABLE: u16;
    /// The packet is too long for its way, and may not be divided.
    const TOO_LONG: u16;

    /// Reads the headers into a place; `None` for what is not of this family, or not understood.
    fn load(skb: Skb, place: &mut MaybeUninit<Self>) -> Option<&mut Self>;
    /// Writes the headers with these addresses.
    fn store(&mut self, skb: Skb, source: &Address6, destination: &Address6, hop: Hop) -> Result<(), Reason>;
    /// Writes the headers of an ICMP error back to the source, before the packet itself: its type and code, and how long a packet
    /// may be, 0 where that is not what it says.
    fn store_error(&self, skb: Skb, kind: u16, mtu: u16) -> Result<(), Reason>;
    /// So many bytes are the packet from this header on.
    fn set_length(&mut self, bytes: u16);
    /// Where it comes from; IPv4 in mapped form.
    fn source(&self) -> Address6;
    /// Where it goes.
    fn destination(&self) -> Address6;
    /// Number of the header that follows.
    fn protocol(&self) -> u8;
    /// What follows this header.
    fn carried(&self) -> Carried;
    /// Whether a router may divide it.
    fn may_be_divided(&self) -> bool;
    /// Routers that it may still pass.
    fn hops(&self) -> u8;
    /// Hardware addresses, destination first.
    fn macs(&self) -> ([u8; 6], [u8; 6]);
}

/// Ethernet and IPv4, without options: those stay in the packet. Wire order; see RFC 791.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct V4 {
    pad: u16,
    mac_destination: [u8; 6],
    mac_source: [u8; 6],
    ether_type: u16,
    version_and_length: u8,
    service: u8,
    total_length: u16,
    id: u16,
    fragment: u16,
    hops: u8,
    protocol: u8,
    checksum: u16,
    source: Address4,
    destination: Address4,
}

const _: () = assert!(size_of::<V4>() == 36 && core::mem::offset_of!(V4, source) == 28);
// SAFETY: integers without gaps (asserted), two bytes before the headers.
unsafe impl Head for V4 {}

/// Bits of the fragment field: not to be divided, more follow, offset.
const DONT_DIVIDE: u16 = 0x4000;
const MORE: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

impl V4 {
    /// The header has no options any more, of which this is the sum.
    #[inline(always)]
    pub fn drop_options(&mut self, options: u32) {
        let word = |length: u8| u16::from_ne_bytes([length, self.service]);
        let bytes = u16::from(self.version_and_length & 0xf) * 4 - (Self::HEAD - ETHERNET) as u16;
        let length = (u16::from_be(self.total_length) - bytes).to_be();
        let mut sum = u32::from(!self.checksum) + u32::from(!fold(options));
        sum += u32::from(!word(self.version_and_length)) + u32::from(word(0x45));
        sum += u32::from(!self.total_length) + u32::from(length);
        self.checksum = !fold(sum);
        (self.version_and_length, self.total_length) = (0x45, length);
    }
}

impl Ip for V4 {
    const ICMP: u8 = protocol::ICMP;
    const ECHO: (u8, u8) = (8, 0);
    const ICMP_HAS_PSEUDO_HEADER: bool = false;
    const FAMILY: u8 = 2;
    const ID_OF_PROTOCOL: bool = true;
    const EXTENDS: bool = false;
    const HEAD: u32 = size_of::<Self>() as u32 - 2;
    const PORT_UNREACHABLE: u16 = 0x0303;
    const TOO_LONG: u16 = 0x0304;

    #[inline(always)]
    fn load(skb: Skb, place: &mut MaybeUninit<Self>) -> Option<&mut Self> {
        let head = skb.load_head(place)?;
        if head.version_and_length >= 0x45 && head.version_and_length <= 0x4f { Some(head) } else { None }
    }

    #[inline(always)]
    fn store(&mut self, skb: Skb, source: &Address6, destination: &Address6, hop: Hop) -> Result<(), Reason> {
        let mut sum = u32::from(!self.checksum);
        let (new_source, new_destination) = (Address4(source.0[3]), Address4(destination.0[3]));
        sum += halves(!self.source.0) + halves(new_source.0);
        sum += halves(!self.destination.0) + halves(new_destination.0);
        (self.source, self.destination) = (new_source, new_destination);
        if hop.counted {
            let word = |hops: u8| u16::from_ne_bytes([hops, self.protocol]);
            sum += u32::from(!word(self.hops)) + u32::from(word(self.hops - 1));
            self.hops -= 1;
        }
        self.checksum = !fold(sum);
        if let Some((to, from)) = hop.macs {
            (self.mac_destination, self.mac_source) = (to, from);
        }
        skb.store_head(self)
    }

    #[inline(always)]
    fn store_error(&self, skb: Skb, kind: u16, mtu: u16) -> Result<(), Reason> {
        /// What the error is about: its header and eight bytes.
        const ABOUT: usize = 28;
        let about: [u16; ABOUT / 2] = skb.load(Self::HEAD + 8).ok_or(Reason::Unwritable)?;
        let mut icmp = [kind.to_be(), 0, 0, mtu.to_be()];
        icmp[1] = !fold(u32::from(icmp[0]) + u32::from(icmp[3]) + sum(&about));
        let mut head = Self {
            pad: 0,
            mac_destination: self.mac_source,
            mac_source: self.mac_destination,
            ether_type: self.ether_type,
            version_and_length: 0x45,
            // Internetwork control, as routers send their errors (RFC 1812, 4.3.2.5).
            service: 0xc0,
            total_length: (Self::ERROR as u16 + ABOUT as u16).to_be(),
            id: 0,
            fragment: 0,
            hops: 64,
            protocol: protocol::ICMP,
            checksum: 0,
            source: self.destination,
            destination: self.source,
        };
        let words = [
            u16::from_ne_bytes([head.version_and_length, head.service]),
            head.total_length,
            u16::from_ne_bytes([head.hops, head.protocol]),
        ];
        let addresses = halves(head.source.0) + halves(head.destination.0);
        head.checksum = !fold(sum(&words) + addresses);
        skb.store_head(&head)?;
        skb.store(Self::HEAD, &icmp)
    }

    #[inline(always)]
    fn set_length(&mut self, bytes: u16) {
        let length = bytes.to_be();
        let change = u32::from(!self.total_length) + u32::from(length);
        self.checksum = !fold(u32::from(!self.checksum) + change);
        self.total_length = length;
    }

    #[inline(always)]
    fn source(&self) -> Address6 {
        self.source.to_mapped()
    }

    #[inline(always)]
    fn destination(&self) -> Address6 {
        self.destination.to_mapped()
    }

    #[inline(always)]
    fn protocol(&self) -> u8 {
        self.protocol
    }

    #[inline(always)]
    fn carried(&self) -> Carried {
        let fragment = u16::from_be(self.fragment);
        Carried {
            at: ETHERNET + u32::from(self.version_and_length & 0xf) * 4,
            id: self.id.into(),
            protocol: self.protocol,
            part: match (fragment & OFFSET, fragment & MORE) {
                (0, 0) => Part::Whole,
                (0, _) => Part::First,
                _ => Part::Later,
            },
        }
    }

    #[inline(always)]
    fn may_be_divided(&self) -> bool {
        u16::from_be(self.fragment) & DONT_DIVIDE == 0
    }

    #[inline(always)]
    fn hops(&self) -> u8 {
        self.hops
    }

    #[inline(always)]
    fn macs(&self) -> ([u8; 6], [u8; 6]) {
        (self.mac_destination, self.mac_source)
    }
}

/// Ethernet and IPv6; extension headers stay in the packet, see [`crate::extension`]. Wire order; see RFC 8200.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct V6 {
    pad: u16,
    mac_destination: [u8; 6],
    mac_source: [u8; 6],
    ether_type: u16,
    version_class_label: [u16; 2],
    payload_length: u16,
    next_header: u8,
    hops: u8,
    source: Address6,
    destination: Address6,
}

const _: () = assert!(size_of::<V6>() == 56 && core::mem::offset_of!(V6, source) == 24);
// SAFETY: as above.
unsafe impl Head for V6 {}

impl V6 {
    /// The only extension header, of so many bytes, is there no more; this is what followed it.
    #[inline(always)]
    pub fn drop_extension(&mut self, bytes: u16, next_header: u8) {
        self.payload_length = (u16::from_be(self.payload_length) - bytes).to_be();
        self.next_header = next_header;
    }
}

impl Ip for V6 {
    const ICMP: u8 = protocol::ICMP6;
    const ECHO: (u8, u8) = (128, 129);
    const ICMP_HAS_PSEUDO_HEADER: bool = true;
    const FAMILY: u8 = 10;
    const ID_OF_PROTOCOL: bool = false;
    const EXTENDS: bool = true;
    const HEAD: u32 = size_of::<Self>() as u32 - 2;
    const PORT_UNREACHABLE: u16 = 0x0104;
    const TOO_LONG: u16 = 0x0200;

    #[inline(always)]
    fn load(skb: Skb, place: &mut MaybeUninit<Self>) -> Option<&mut Self> {
        skb.load_head(place)
    }

    #[inline(always)]
    fn store(&mut self, skb: Skb, source: &Address6, destination: &Address6, hop: Hop) -> Result<(), Reason> {
        (self.source, self.destination) = (*source, *destination);
        if hop.counted {
            self.hops -= 1;
        }
        if let Some((to, from)) = hop.macs {
            (self.mac_destination, self.mac_source) = (to, from);
        }
        skb.store_head(self)
    }

    #[inline(always)]
    fn store_error(&self, skb: Skb, kind: u16, mtu: u16) -> Result<(), Reason> {
        /// What the error is about: its header and eight bytes.
        const ABOUT: usize = 48;
        let about: [u16; ABOUT / 2] = skb.load(Self::HEAD + 8).ok_or(Reason::Unwritable)?;
        let length = (8 + ABOUT as u16).to_be();
        let mut icmp = [kind.to_be(), 0, 0, mtu.to_be()];
        // The checksum counts addresses, length and protocol.
        let addresses = eighths(&self.source) + eighths(&self.destination);
        let protocol = u32::from(u16::from(protocol::ICMP6).to_be());
        let said = u32::from(icmp[0]) + u32::from(icmp[3]);
        icmp[1] = !fold(said + sum(&about) + addresses + u32::from(length) + protocol);
        let head = Self {
            pad: 0,
            mac_destination: self.mac_source,
            mac_source: self.mac_destination,
            ether_type: self.ether_type,
            version_class_label: [0x6000_u16.to_be(), 0],
            payload_length: length,
            next_header: protocol::ICMP6,
            hops: 64,
            source: self.destination,
            destination: self.source,
        };
        skb.store_head(&head)?;
        skb.store(Self::HEAD, &icmp)
    }

    #[inline(always)]
    fn set_length(&mut self, bytes: u16) {
        self.payload_length = (bytes - (Self::HEAD - ETHERNET) as u16).to_be();
    }

    #[inline(always)]
    fn source(&self) -> Address6 {
        self.source
    }

    #[inline(always)]
    fn destination(&self) -> Address6 {
        self.destination
    }

    #[inline(always)]
    fn protocol(&self) -> u8 {
        self.next_header
    }

    #[inline(always)]
    fn carried(&self) -> Carried {
        Carried { at: Self::HEAD, id: 0, protocol: self.next_header, part: Part::Whole }
    }

    #[inline(always)]
    fn may_be_divided(&self) -> bool {
        false
    }

    #[inline(always)]
    fn hops(&self) -> u8 {
        self.hops
    }

    #[inline(always)]
    fn macs(&self) -> ([u8; 6], [u8; 6]) {
        (self.mac_destination, self.mac_source)
    }
}

/// The sum of an Internet checksum (RFC 1071) in 16 bits; takes any sum of fewer than 65,536 halves.
#[inline(always)]
pub fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}

#[inline(always)]
fn sum(halves: &[u16]) -> u32 {
    let mut sum = 0;
    for half in halves {
        sum += u32::from(*half);
    }
    sum
}

/// The two halves of a word, added.
#[inline(always)]
fn halves(word: u32) -> u32 {
    (word & 0xffff) + (word >> 16)
}

/// The eight halves of an address, added.
#[inline(always)]
fn eighths(address: &Address6) -> u32 {
    let [a, b, c, d] = address.0;
    halves(a) + halves(b) + halves(c) + halves(d)
}
