//! A packet of IPv6 as it goes on to the backend's node with the client's address. See [`crate::send`].

use aya_ebpf::{helpers::bpf_xdp_adjust_head, programs::XdpContext};
use keelson_ebpf_common::{
    net::{Address6, Port},
    wire::{DESTINATION_OPTIONS, DirectOption6, Hop, OPTION6_BYTES, OPTION6_LENGTH, OPTION6_TYPE},
};

use crate::{
    frame::{self, DROP, Ethernet, Ipv6, TX, halves},
    headers::Head6,
    send::{Direct, write_transport},
    ways::{Backend, Backend6},
};

impl Direct for Head6 {
    const MARK_BYTES: u32 = OPTION6_BYTES;

    #[inline(always)]
    fn change_to(&self, backend: Backend6) -> u32 {
        let ([a, b, c, d], Address6([e, f, g, h])) = (self.ip.destination, backend.address());
        let less = halves(!a) + halves(!b) + halves(!c) + halves(!d);
        less + halves(e) + halves(f) + halves(g) + halves(h)
    }

    #[inline(always)]
    fn set_port(&mut self, port: u16) {
        self.destination_port = port;
    }

    #[inline(always)]
    fn as_it_is(context: &XdpContext, place: *mut Self, backend: Backend6, hop: &Hop) -> u32 {
        // SAFETY: inside of the packet, and nothing else refers to it.
        let head = unsafe { &mut *place };
        if !write_transport(context, head, backend) {
            return DROP;
        }
        head.ip.hops -= 1;
        head.ip.destination = backend.address().0;
        head.ethernet.destination = hop.mac_destination;
        head.ethernet.source = hop.mac_source;
        TX
    }

    #[inline(always)]
    fn marked(context: &XdpContext, place: *mut Self, backend: Backend6, hop: &Hop) -> u32 {
        // SAFETY: as above.
        let head = unsafe { &mut *place };
        let port = head.destination_port;
        if !write_transport(context, head, backend) {
            return DROP;
        }
        // SAFETY: the kernel's context. The packet begins so many bytes earlier; nothing that pointed into it is used again.
        if unsafe { bpf_xdp_adjust_head(context.ctx, -(OPTION6_BYTES as i32)) } != 0 {
            return DROP;
        }
        let Some(start) = frame::at::<Start>(context, 0) else { return DROP };
        // SAFETY: inside of the packet (`at` checks): the headers lie as far in it as it has grown. Each word is read before
        // another comes in its place.
        unsafe {
            let old = start.byte_add(OPTION6_BYTES as usize).cast::<Headers6>();
            (*start).ethernet = Ethernet {
                destination: hop.mac_destination,
                source: hop.mac_source,
                ether_type: 0x86dd_u16.to_be(),
            };
            let ip = &raw mut (*start).ip;
            (*ip).version_class_label = (*old).ip.version_class_label;
            (*ip).payload_length = (u16::from_be((*old).ip.payload_length) + OPTION6_BYTES as u16).to_be();
            (*ip).next_header = DESTINATION_OPTIONS;
            (*ip).hops = (*old).ip.hops - 1;
            let next_header = (*old).ip.next_header;
            (*ip).source = (*old).ip.source;
            (*ip).destination = backend.address().0;
            let option = &raw mut (*start).option;
            (*option).next_header = next_header;
            (*option).units = DirectOption6::UNITS;
            (*option).option_type = OPTION6_TYPE;
            (*option).length = OPTION6_LENGTH;
            ((*option).port, (*option).pad) = (Port(port), 0);
            // The old destination lies where the option's address does (asserted).
        }
        TX
    }
}

const _: () = assert!(
    size_of::<Headers6>() == size_of::<Start>() - OPTION6_BYTES as usize
        && core::mem::offset_of!(DirectOption6, address) == OPTION6_BYTES as usize - size_of::<[u32; 4]>()
        && core::mem::offset_of!(Ipv6, destination) == size_of::<Ipv6>() - size_of::<[u32; 4]>()
);

/// Before a packet grows.
#[repr(C, packed(2))]
struct Headers6 {
    ethernet: Ethernet,
    ip: Ipv6,
}

/// The headers before the transport's. At multiples of two bytes.
#[repr(C, packed(2))]
struct Start {
    ethernet: Ethernet,
    ip: Ipv6,
    option: DirectOption6,
}
