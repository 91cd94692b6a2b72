//! A packet written as it goes on to the backend's node, and sent back out by the wire.

use aya_ebpf::{helpers::bpf_xdp_adjust_head, programs::XdpContext};
use keelson_ebpf_common::{
    net::{Address4, Port},
    packet::{Tuple, protocol},
    wire::{DirectOption, Hop, OPTION_BYTES, OPTION_TYPE},
};

use crate::{
    frame::{self, DROP, Ethernet, Head, TX, fold, halves},
    headers::Headers,
    known::Backend,
};

/// Whether a packet says which Service it is for.
#[derive(Clone, Copy)]
pub enum Marked {
    /// By the option.
    Yes,
    /// No: its connection's first has said it.
    No,
}

impl Marked {
    /// What it grows by.
    #[inline(always)]
    pub const fn bytes(self) -> u32 {
        match self {
            Self::Yes => OPTION_BYTES,
            Self::No => 0,
        }
    }
}

/// Sends a packet on with the backend as its destination.
#[inline(always)]
pub fn as_it_is(context: &XdpContext, head: *mut Head, backend: Backend, hop: &Hop) -> u32 {
    // SAFETY: inside of the packet, and nothing else refers to it.
    let head = unsafe { &mut *head };
    if !write_transport(context, head, backend) {
        return DROP;
    }
    let checksum = next_checksum(head, backend);
    head.ip.checksum = !fold(checksum);
    head.ip.hops -= 1;
    head.ip.destination = backend.address();
    head.ethernet.destination = hop.mac_destination;
    head.ethernet.source = hop.mac_source;
    TX
}

/// The same, with the option.
#[inline(always)]
pub fn marked(context: &XdpContext, head: *mut Head, backend: Backend, hop: &Hop) -> u32 {
    // SAFETY: as above.
    let head = unsafe { &mut *head };
    let option = DirectOption {
        option_type: OPTION_TYPE,
        length: OPTION_BYTES as u8,
        port: Port(head.destination_port),
        address: Address4(head.ip.destination),
    };
    if !write_transport(context, head, backend) {
        return DROP;
    }
    let mut checksum = next_checksum(head, backend);
    let mut ip = head.ip;
    let word = |first: u8, second: u8| u32::from(u16::from_ne_bytes([first, second]));
    checksum += u32::from(!(word(ip.version_and_length, ip.service) as u16));
    checksum += u32::from(!{ ip.total_length });
    ip.version_and_length += (OPTION_BYTES / 4) as u8;
    ip.total_length = (u16::from_be(ip.total_length) + OPTION_BYTES as u16).to_be();
    checksum += word(ip.version_and_length, ip.service) + u32::from(ip.total_length);
    checksum += word(option.option_type, option.length) + u32::from(option.port.0) + halves(option.address.0);
    ip.checksum = !fold(checksum);
    ip.hops -= 1;
    ip.destination = backend.address();
    // SAFETY: the kernel's context. The packet begins so many bytes earlier; nothing that pointed into it is used again.
    if unsafe { bpf_xdp_adjust_head(context.ctx, -(OPTION_BYTES as i32)) } != 0 {
        return DROP;
    }
    let Some(start) = frame::at::<Start>(context, 0) else { return DROP };
    let ethernet =
        Ethernet { destination: hop.mac_destination, source: hop.mac_source, ether_type: 0x0800_u16.to_be() };
    // SAFETY: inside of the packet (`at` checks).
    unsafe {
        (*start).ethernet = ethernet;
        (*start).ip = ip;
        (*start).option = option;
    }
    TX
}

/// Writes a packet as one of another flow. False, and nothing is written, beyond the packet's end.
#[inline(always)]
pub fn translated<H: Headers>(context: &XdpContext, place: *mut H, to: &Tuple, hop: &Hop) -> bool {
    // SAFETY: inside of the packet, and nothing else refers to it.
    let head = unsafe { &mut *place };
    let udp = head.protocol() == protocol::UDP;
    let at = H::TRANSPORT + if udp { 6 } else { 16 };
    let Some(checksum) = frame::at::<u16>(context, at) else { return false };
    // SAFETY: inside of the packet (`at` checks).
    let old = unsafe { *checksum };
    // No checksum (RFC 768) stays no checksum, and none becomes one.
    if !(udp && old == 0) {
        let new = !fold(u32::from(!old) + head.change(to));
        // SAFETY: as above.
        unsafe { *checksum = if udp && new == 0 { u16::MAX } else { new } };
    }
    head.write(to, hop);
    true
}

/// The headers before the transport's. At multiples of two bytes.
#[repr(C, packed(2))]
struct Start {
    ethernet: Ethernet,
    ip: frame::Ipv4,
    option: DirectOption,
}

/// The port and the checksum of the transport. False beyond the packet's end.
#[inline(always)]
fn write_transport(context: &XdpContext, head: &mut Head, backend: Backend) -> bool {
    let Some(checksum) = frame::at::<u16>(context, head.checksum_at()) else { return false };
    // SAFETY: inside of the packet (`at` checks).
    let old = unsafe { *checksum };
    let udp = head.ip.protocol == protocol::UDP;
    // No checksum (RFC 768) stays no checksum, and none becomes one.
    if !(udp && old == 0) {
        let sum = u32::from(!old)
            + halves(!{ head.ip.destination })
            + halves(backend.address())
            + u32::from(!head.destination_port)
            + u32::from(backend.port());
        let new = !fold(sum);
        // SAFETY: as above.
        unsafe { *checksum = if udp && new == 0 { u16::MAX } else { new } };
    }
    head.destination_port = backend.port();
    true
}

/// The sum of the header with another destination and one hop less.
#[inline(always)]
fn next_checksum(head: &Head, backend: Backend) -> u32 {
    let ip = head.ip;
    let word = |hops: u8| u16::from_ne_bytes([hops, ip.protocol]);
    u32::from(!{ ip.checksum })
        + halves(!{ ip.destination })
        + halves(backend.address())
        + u32::from(!word(ip.hops))
        + u32::from(word(ip.hops - 1))
}
