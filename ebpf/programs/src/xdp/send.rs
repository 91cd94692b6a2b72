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
    ways::{Backend, Backend4, Known},
};

/// Packets of one family that are sent on with the client's address.
pub trait Direct: Known {
    /// What a packet grows by that says which Service it is for.
    const MARK_BYTES: u32;

    /// What the transport's checksum counts, the port besides, and has otherwise with the backend as its destination, as a sum.
    fn change_to(&self, backend: Self::Backend) -> u32;
    /// Another port of the destination.
    fn set_port(&mut self, port: u16);
    /// Sends a packet on with the backend as its destination.
    fn as_it_is(context: &XdpContext, place: *mut Self, backend: Self::Backend, hop: &Hop) -> u32;
    /// The same, with the option.
    fn marked(context: &XdpContext, place: *mut Self, backend: Self::Backend, hop: &Hop) -> u32;
}

impl Direct for Head {
    const MARK_BYTES: u32 = OPTION_BYTES;

    #[inline(always)]
    fn change_to(&self, backend: Backend4) -> u32 {
        halves(!{ self.ip.destination }) + halves(backend.word())
    }

    #[inline(always)]
    fn set_port(&mut self, port: u16) {
        self.destination_port = port;
    }

    #[inline(always)]
    fn as_it_is(context: &XdpContext, place: *mut Self, backend: Backend4, hop: &Hop) -> u32 {
        // SAFETY: inside of the packet, and nothing else refers to it.
        let head = unsafe { &mut *place };
        if !write_transport(context, head, backend) {
            return DROP;
        }
        let checksum = next_checksum(head, backend);
        head.ip.checksum = !fold(checksum);
        head.ip.hops -= 1;
        head.ip.destination = backend.word();
        head.ethernet.destination = hop.mac_destination;
        head.ethernet.source = hop.mac_source;
        TX
    }

    #[inline(always)]
    fn marked(context: &XdpContext, place: *mut Self, backend: Backend4, hop: &Hop) -> u32 {
        marked(context, place, backend, hop)
    }
}

#[inline(always)]
fn marked(context: &XdpContext, head: *mut Head, backend: Backend4, hop: &Hop) -> u32 {
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
    ip.destination = backend.word();
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
    let Some(checksum) = frame::at::<u16>(context, head.checksum_at()) else { return false };
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
pub fn write_transport<H: Direct>(context: &XdpContext, head: &mut H, backend: H::Backend) -> bool {
    let Some(checksum) = frame::at::<u16>(context, head.checksum_at()) else { return false };
    // SAFETY: inside of the packet (`at` checks).
    let old = unsafe { *checksum };
    let udp = head.protocol() == protocol::UDP;
    // No checksum (RFC 768) stays no checksum, and none becomes one.
    if !(udp && old == 0) {
        let port = (head.ports() >> 16) as u16;
        let sum = u32::from(!old) + head.change_to(backend) + u32::from(!port) + u32::from(backend.port());
        let new = !fold(sum);
        // SAFETY: as above.
        unsafe { *checksum = if udp && new == 0 { u16::MAX } else { new } };
    }
    head.set_port(backend.port());
    true
}

/// The sum of the header with another destination and one hop less.
#[inline(always)]
fn next_checksum(head: &Head, backend: Backend4) -> u32 {
    let ip = head.ip;
    let word = |hops: u8| u16::from_ne_bytes([hops, ip.protocol]);
    u32::from(!{ ip.checksum })
        + halves(!{ ip.destination })
        + halves(backend.word())
        + u32::from(!word(ip.hops))
        + u32::from(word(ip.hops - 1))
}
