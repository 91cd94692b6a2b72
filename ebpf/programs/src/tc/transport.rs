//! The transport header: which flow a packet is of, and the flow's translation written into it.

use aya_ebpf::{
    bindings::{BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR},
    helpers::{bpf_csum_diff, bpf_l4_csum_replace},
};
use keelson_ebpf_common::{
    drop::Reason,
    net::{Address6, Port},
    packet::{FragmentPorts, Fragments, Tuple, protocol},
};

pub use keelson_ebpf_common::packet::tcp;

use crate::{
    extension,
    ip::{Carried, Ip, Part},
    skb::Skb,
    state::{FRAGMENTS, PASSAGE},
};

/// Types of the chunk that an SCTP packet begins with (RFC 9260, 3.2), and what they say in the bits of TCP: how an association
/// begins and ends is told as a connection's is. INIT, INIT ACK, ABORT and SHUTDOWN COMPLETE are never behind another chunk but
/// ABORT, which may follow what is of no more use by then.
mod sctp {
    use super::tcp;

    const INIT: u8 = 1;
    const INIT_ACK: u8 = 2;
    const ABORT: u8 = 6;
    const SHUTDOWN_COMPLETE: u8 = 14;

    pub const fn flags(chunk: u8) -> u8 {
        match chunk {
            INIT => tcp::SYN,
            INIT_ACK => tcp::SYN | tcp::ACK,
            ABORT | SHUTDOWN_COMPLETE => tcp::RST,
            _ => tcp::ACK,
        }
    }
}

/// What of the packet states its flow, and so has to be rewritten.
#[derive(Clone, Copy, Eq, PartialEq)]
#[repr(u8)]
pub enum Kind {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
    /// ICMP echo or an answer to it.
    Echo,
    /// Nothing beyond the addresses: a later fragment, or an ICMP error whose inner packet is rewritten already.
    AddressesOnly,
}

/// A packet's flow before and after.
///
/// There is one a CPU, in a map: packets are handled one after the other with softirqs off, a program has 512 bytes of stack, and
/// of what lies in a map the verifier remembers nothing, so that paths which differ in it alone are one to it from there
/// on. None of its fields is a variant with something in it: what the others leave undefined may come to lie in a register
/// that the verifier refuses to see stored.
pub struct Passage {
    pub from: Tuple,
    pub to: Tuple,
    /// The connection that an ICMP error is about, see `icmp::about`; of protocol 0 for anything else.
    pub about: Tuple,
    pub carried: Carried,
    pub kind: Kind,
    /// Of TCP; of SCTP what means the same; else none.
    pub flags: u8,
}

impl Passage {
    /// A packet of which only the addresses count, unchanged so far. `None` never.
    #[inline(always)]
    pub fn begin<I: Ip>(skb: Skb, ip: &I) -> Option<&'static mut Self> {
        // SAFETY: a pointer from the map, whose memory is this CPU's, and zeros are a value. Programs do not interrupt each
        // other: softirqs are off in both hooks.
        let passage = unsafe { &mut *PASSAGE.get_ptr_mut(0)? };
        passage.carried = ip.carried();
        if I::EXTENDS && extension::is_extension(ip.protocol()) {
            extension::walk(skb, &mut passage.carried);
        }
        let protocol = passage.carried.protocol;
        passage.from = Tuple::of_addresses(ip.source(), ip.destination(), protocol);
        passage.to = passage.from;
        passage.about.protocol = 0;
        (passage.kind, passage.flags) = (Kind::AddressesOnly, 0);
        Some(passage)
    }

    /// Reads the packet's flow, if that can be told.
    #[inline(always)]
    pub fn read<I: Ip>(&mut self, skb: Skb) -> bool {
        let Carried { at, protocol, part, .. } = self.carried;
        if part == Part::Later {
            return self.recall::<I>();
        }
        let tuple = &mut self.from;
        if protocol == protocol::TCP {
            let Some([source, destination, .., flags]) = skb.load::<[u16; 7]>(at) else {
                return false;
            };
            (tuple.source_port, tuple.destination_port) = (Port(source), Port(destination));
            (self.kind, self.flags) = (Kind::Tcp, u16::from_be(flags) as u8);
        } else if protocol == protocol::UDP {
            let Some([source, destination]) = skb.load::<[u16; 2]>(at) else { return false };
            (tuple.source_port, tuple.destination_port) = (Port(source), Port(destination));
            self.kind = Kind::Udp;
        } else if protocol == protocol::SCTP {
            // Ports, verification tag, checksum, and the first chunk's type and flags.
            let Some([source, destination, .., chunk]) = skb.load::<[u16; 7]>(at) else {
                return false;
            };
            (tuple.source_port, tuple.destination_port) = (Port(source), Port(destination));
            (self.kind, self.flags) = (Kind::Sctp, sctp::flags((u16::from_be(chunk) >> 8) as u8));
        } else if protocol == I::ICMP {
            let Some([type_and_code, _, id]) = skb.load::<[u16; 3]>(at) else { return false };
            let icmp_type = (u16::from_be(type_and_code) >> 8) as u8;
            if icmp_type == I::ECHO.0 {
                tuple.source_port = Port(id);
            } else if icmp_type == I::ECHO.1 {
                tuple.destination_port = Port(id);
            } else {
                return false;
            }
            self.kind = Kind::Echo;
        } else {
            return false;
        }
        if part == Part::First {
            self.remember::<I>();
        }
        true
    }

    #[inline(always)]
    fn datagram<I: Ip>(&self) -> Fragments {
        let Tuple { source, destination, protocol, .. } = self.from;
        let protocol = if I::ID_OF_PROTOCOL { protocol } else { protocol::FRAGMENT };
        Fragments { source, destination, id: self.carried.id, protocol, pad: [0; 3] }
    }

    /// Whether the first fragment was seen: then its ports are this one's.
    ///
    /// Not an `Option` of ports: the compiler would give it back in a register of which half is undefined, and the verifier
    /// refuses to see such a register moved.
    #[inline(never)]
    fn recall<I: Ip>(&mut self) -> bool {
        // SAFETY: an LRU element may be given away while it is read: when 1,024 younger datagrams come between.
        let Some(first) = (unsafe { FRAGMENTS.get(&self.datagram::<I>()) }) else { return false };
        (self.from.source_port, self.from.destination_port) = (first.source, first.destination);
        self.from.protocol = first.protocol;
        true
    }

    /// Without room the later fragments are not understood, and the datagram is lost as if one were.
    #[inline(never)]
    fn remember<I: Ip>(&self) {
        let Tuple { source_port, destination_port, protocol, .. } = self.from;
        let first =
            FragmentPorts { source: source_port, destination: destination_port, protocol, pad: [0; 3] };
        let _ = FRAGMENTS.insert(&self.datagram::<I>(), &first, 0);
    }
}

/// Makes the transport header that a packet has that of the flow which it becomes, with its checksum, which may be a partial one:
/// the kernel's helper knows. The addresses themselves are not written here.
#[inline(always)]
pub fn write<I: Ip>(skb: Skb, passage: &Passage) -> Result<(), Reason> {
    let Passage { from, to, carried: Carried { at, .. }, kind, .. } = passage;
    let at = *at;
    match *kind {
        Kind::AddressesOnly => Ok(()),
        // Its checksum counts no address, and no other port can be made right; nobody plans one.
        Kind::Sctp if ports(from) != ports(to) => Err(Reason::Unwritable),
        Kind::Sctp => Ok(()),
        Kind::Tcp => {
            sum_addresses(skb, at + 16, from, to, 0)?;
            write_ports(skb, at, at + 16, from, to, 0)
        }
        Kind::Udp => {
            // No checksum (RFC 768) stays no checksum, and none becomes one.
            sum_addresses(skb, at + 6, from, to, u64::from(BPF_F_MARK_MANGLED_0))?;
            write_ports(skb, at, at + 6, from, to, u64::from(BPF_F_MARK_MANGLED_0))
        }
        Kind::Echo => {
            if I::ICMP_HAS_PSEUDO_HEADER {
                sum_addresses(skb, at + 2, from, to, 0)?;
            }
            let id = |tuple: &Tuple| tuple.source_port.0 | tuple.destination_port.0;
            replace(skb, at + 2, u64::from(id(from)), u64::from(id(to)), 2)?;
            skb.store(at + 4, &id(to))
        }
    }
}

#[inline(always)]
fn write_ports(skb: Skb, at: u32, sum_at: u32, from: &Tuple, to: &Tuple, flags: u64) -> Result<(), Reason> {
    let (old, new) = (ports(from), ports(to));
    if old == new {
        return Ok(());
    }
    replace(skb, sum_at, u64::from(old), u64::from(new), flags | 4)?;
    skb.store(at, &new)
}

/// The difference of the addresses, which the checksum counts as a pseudo-header.
#[inline(always)]
pub fn sum_addresses(skb: Skb, sum_at: u32, from: &Tuple, to: &Tuple, flags: u64) -> Result<(), Reason> {
    const BYTES: u32 = 2 * size_of::<Address6>() as u32;
    let (old, new) = (core::ptr::from_ref(from).cast_mut(), core::ptr::from_ref(to).cast_mut());
    // SAFETY: a tuple begins with its two addresses; they are only read.
    let difference = unsafe { bpf_csum_diff(old.cast(), BYTES, new.cast(), BYTES, 0) };
    replace(skb, sum_at, 0, difference as u64 & 0xffff_ffff, flags | u64::from(BPF_F_PSEUDO_HDR))
}

#[inline(always)]
pub fn replace(skb: Skb, at: u32, from: u64, to: u64, flags: u64) -> Result<(), Reason> {
    // SAFETY: the kernel's context.
    let failed = unsafe { bpf_l4_csum_replace(skb.0, at, from, to, flags) };
    if failed == 0 { Ok(()) } else { Err(Reason::Unwritable) }
}

#[inline(always)]
fn ports(tuple: &Tuple) -> u32 {
    u32::from(tuple.source_port.0) | u32::from(tuple.destination_port.0) << 16
}
