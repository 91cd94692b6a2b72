//! A packet's bytes: where they are, what they say, and sums of them.

use aya_ebpf::programs::XdpContext;
use keelson_ebpf_common::packet::protocol;

/// `XDP_DROP`.
pub const DROP: u32 = 1;
/// `XDP_PASS`.
pub const PASS: u32 = 2;
/// `XDP_TX`: back out by the device on which it came.
pub const TX: u32 = 3;

/// Bytes of an Ethernet header.
pub const ETHERNET: usize = 14;
/// Bytes of an IPv4 header without options.
pub const IPV4: usize = 20;

/// "Do not fragment", of [`Ipv4::fragment`] in host order.
pub const WHOLE: u16 = 0x4000;

/// Ethernet. Wire order.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Ethernet {
    pub destination: [u16; 3],
    pub source: [u16; 3],
    pub ether_type: u16,
}

/// IPv4 without options; wire order, see RFC 791. Lies at multiples of two bytes.
#[repr(C, packed(2))]
#[derive(Clone, Copy)]
pub struct Ipv4 {
    pub version_and_length: u8,
    pub service: u8,
    pub total_length: u16,
    pub id: u16,
    pub fragment: u16,
    pub hops: u8,
    pub protocol: u8,
    pub checksum: u16,
    pub source: u32,
    pub destination: u32,
}

/// IPv6; wire order, see RFC 8200. Lies at multiples of two bytes.
#[repr(C, packed(2))]
#[derive(Clone, Copy)]
pub struct Ipv6 {
    pub version_class_label: u32,
    pub payload_length: u16,
    pub next_header: u8,
    pub hops: u8,
    pub source: [u32; 4],
    pub destination: [u32; 4],
}

/// Ethernet, IPv4, and the ports with which TCP and UDP begin.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Head {
    pub ethernet: Ethernet,
    pub ip: Ipv4,
    pub source_port: u16,
    pub destination_port: u16,
}

const _: () = assert!(size_of::<Head>() == 38 && align_of::<Head>() == 2);

/// So many bytes of the packet at an offset; `None` beyond what of it lies in the first buffer.
#[inline(always)]
pub fn at<T>(context: &XdpContext, offset: usize) -> Option<*mut T> {
    let start = context.data() + offset;
    if start + size_of::<T>() > context.data_end() { None } else { Some(start as *mut T) }
}

/// The headers of a packet that can be sent on as it is: TCP or UDP, in one piece, without options.
#[inline(always)]
pub fn head(context: &XdpContext) -> Option<*mut Head> {
    /// More fragments, or an offset.
    const PARTS: u16 = 0x3fff;
    let head = at::<Head>(context, 0)?;
    // SAFETY: inside of the packet (`at` checks); any bytes are a value.
    let Head { ethernet, ip, .. } = unsafe { &*head };
    let understood = ethernet.ether_type == 0x0800_u16.to_be()
        && ip.version_and_length == 0x45
        && ip.fragment & PARTS.to_be() == 0
        && (ip.protocol == protocol::TCP || ip.protocol == protocol::UDP);
    if understood { Some(head) } else { None }
}

/// The sum of an Internet checksum (RFC 1071) in 16 bits; takes any sum of fewer than 65,536 halves.
#[inline(always)]
pub const fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}

/// The two halves of a word, added.
#[inline(always)]
pub const fn halves(word: u32) -> u32 {
    (word & 0xffff) + (word >> 16)
}
