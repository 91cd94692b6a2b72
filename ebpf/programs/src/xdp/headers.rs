//! A packet's headers in either family, as far as its ports: what they say of its flow, and another flow written into them.

use aya_ebpf::programs::XdpContext;
use keelson_ebpf_common::{
    maglev,
    net::{Address4, Address6, Port},
    packet::{Tuple, protocol},
    wire::Hop,
};

use crate::{
    frame::{self, ETHERNET, Ethernet, Head, IPV4, Ipv6, WHOLE, fold, halves},
    node::{node4, node6},
    too_long,
};

/// Bytes of an IPv6 header.
pub const IPV6: usize = 40;

/// Ethernet, IPv6, and the ports.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Head6 {
    pub ethernet: Ethernet,
    pub ip: Ipv6,
    pub source_port: u16,
    pub destination_port: u16,
}

const _: () = assert!(size_of::<Head6>() == 58 && align_of::<Head6>() == 2);

/// The headers of one family.
pub trait Headers {
    /// Offset of the transport header.
    const TRANSPORT: usize;

    /// Bytes that every link takes: nobody is told that packets may have fewer.
    const MTU_MIN: u32;

    /// The packet's flow.
    fn tuple(&self) -> Tuple;
    /// The client's port in the lower half, the Service's in the upper, as in memory.
    fn ports(&self) -> u32;
    /// Hash of the flow, as of its tuple.
    fn hash(&self) -> u64;
    /// TCP or UDP.
    fn protocol(&self) -> u8;
    /// Routers that it may still pass.
    fn hops(&self) -> u8;
    /// Bytes of the IP packet.
    fn length(&self) -> u32;
    /// Whether a router may divide it.
    fn is_dividable(&self) -> bool;
    /// Whether it is for the node's own address.
    fn is_for_node(&self) -> bool;
    /// What the transport's checksum counts and the other flow has otherwise, as a sum.
    fn change(&self, to: &Tuple) -> u32;
    /// Another flow's addresses and ports, the way there, one router less.
    fn write(&mut self, to: &Tuple, hop: &Hop);
    /// Offset of the transport's checksum.
    #[inline(always)]
    fn checksum_at(&self) -> usize {
        Self::TRANSPORT + if self.protocol() == protocol::TCP { 16 } else { 6 }
    }
    /// Answers the sender that packets may have so many bytes; `from` is the packet's flow.
    fn tell_too_long(&self, context: &XdpContext, from: &Tuple, mtu: u32) -> u32;
}

impl Headers for Head {
    const TRANSPORT: usize = ETHERNET + IPV4;
    /// RFC 791, 3.2.
    const MTU_MIN: u32 = 68;

    #[inline(always)]
    fn tuple(&self) -> Tuple {
        Tuple {
            source: Address4(self.ip.source).to_mapped(),
            destination: Address4(self.ip.destination).to_mapped(),
            source_port: Port(self.source_port),
            destination_port: Port(self.destination_port),
            protocol: self.ip.protocol,
            pad: [0; 3],
        }
    }

    #[inline(always)]
    fn ports(&self) -> u32 {
        self.source_port as u32 | (self.destination_port as u32) << 16
    }

    #[inline(always)]
    fn hash(&self) -> u64 {
        maglev::hash4(self.ip.source, self.ip.destination, self.ports(), self.ip.protocol)
    }

    #[inline(always)]
    fn protocol(&self) -> u8 {
        self.ip.protocol
    }

    #[inline(always)]
    fn hops(&self) -> u8 {
        self.ip.hops
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        u32::from(u16::from_be(self.ip.total_length))
    }

    #[inline(always)]
    fn is_dividable(&self) -> bool {
        self.ip.fragment & WHOLE.to_be() == 0
    }

    #[inline(always)]
    fn is_for_node(&self) -> bool {
        self.ip.destination == node4()
    }

    #[inline(always)]
    fn change(&self, to: &Tuple) -> u32 {
        halves(!{ self.ip.source })
            + halves(!{ self.ip.destination })
            + halves(to.source.0[3])
            + halves(to.destination.0[3])
            + ports(self.source_port, self.destination_port, to)
    }

    #[inline(always)]
    fn write(&mut self, to: &Tuple, hop: &Hop) {
        let ip = &mut self.ip;
        let word = |hops: u8| u32::from(u16::from_ne_bytes([hops, ip.protocol]));
        let sum = u32::from(!{ ip.checksum })
            + halves(!{ ip.source })
            + halves(!{ ip.destination })
            + halves(to.source.0[3])
            + halves(to.destination.0[3])
            + u32::from(!(word(ip.hops) as u16))
            + word(ip.hops - 1);
        ip.checksum = !fold(sum);
        ip.hops -= 1;
        (ip.source, ip.destination) = (to.source.0[3], to.destination.0[3]);
        (self.source_port, self.destination_port) = (to.source_port.0, to.destination_port.0);
        (self.ethernet.destination, self.ethernet.source) = (hop.mac_destination, hop.mac_source);
    }

    #[inline(always)]
    fn tell_too_long(&self, context: &XdpContext, _from: &Tuple, mtu: u32) -> u32 {
        too_long::answer(context, self, mtu)
    }
}

impl Headers for Head6 {
    const TRANSPORT: usize = ETHERNET + IPV6;
    /// RFC 8200, 5.
    const MTU_MIN: u32 = 1_280;

    #[inline(always)]
    fn tuple(&self) -> Tuple {
        Tuple {
            source: Address6(self.ip.source),
            destination: Address6(self.ip.destination),
            source_port: Port(self.source_port),
            destination_port: Port(self.destination_port),
            protocol: self.ip.next_header,
            pad: [0; 3],
        }
    }

    #[inline(always)]
    fn ports(&self) -> u32 {
        self.source_port as u32 | (self.destination_port as u32) << 16
    }

    #[inline(always)]
    fn hash(&self) -> u64 {
        maglev::hash(&self.tuple())
    }

    #[inline(always)]
    fn protocol(&self) -> u8 {
        self.ip.next_header
    }

    #[inline(always)]
    fn hops(&self) -> u8 {
        self.ip.hops
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        IPV6 as u32 + u32::from(u16::from_be(self.ip.payload_length))
    }

    #[inline(always)]
    fn is_dividable(&self) -> bool {
        false
    }

    #[inline(always)]
    fn is_for_node(&self) -> bool {
        let ([a, b, c, d], [e, f, g, h]) = (self.ip.destination, node6());
        a == e && b == f && c == g && d == h
    }

    #[inline(always)]
    fn change(&self, to: &Tuple) -> u32 {
        let less = |[a, b, c, d]: [u32; 4]| halves(!a) + halves(!b) + halves(!c) + halves(!d);
        let more = |[a, b, c, d]: [u32; 4]| halves(a) + halves(b) + halves(c) + halves(d);
        less(self.ip.source)
            + less(self.ip.destination)
            + more(to.source.0)
            + more(to.destination.0)
            + ports(self.source_port, self.destination_port, to)
    }

    #[inline(always)]
    fn write(&mut self, to: &Tuple, hop: &Hop) {
        self.ip.hops -= 1;
        (self.ip.source, self.ip.destination) = (to.source.0, to.destination.0);
        (self.source_port, self.destination_port) = (to.source_port.0, to.destination_port.0);
        (self.ethernet.destination, self.ethernet.source) = (hop.mac_destination, hop.mac_source);
    }

    #[inline(always)]
    fn tell_too_long(&self, context: &XdpContext, from: &Tuple, mtu: u32) -> u32 {
        too_long::answer6(context, self, from, mtu)
    }
}

#[inline(always)]
fn ports(source: u16, destination: u16, to: &Tuple) -> u32 {
    u32::from(!source)
        + u32::from(!destination)
        + u32::from(to.source_port.0)
        + u32::from(to.destination_port.0)
}

/// The headers of a packet of IPv6 that can be sent on as it is: TCP or UDP, without extension headers.
#[inline(always)]
pub fn head6(context: &XdpContext) -> Option<*mut Head6> {
    let head = frame::at::<Head6>(context, 0)?;
    // SAFETY: inside of the packet (`at` checks); any bytes are a value.
    let Head6 { ethernet, ip, .. } = unsafe { &*head };
    let understood = ethernet.ether_type == 0x86dd_u16.to_be()
        && (ip.next_header == protocol::TCP || ip.next_header == protocol::UDP);
    if understood { Some(head) } else { None }
}
