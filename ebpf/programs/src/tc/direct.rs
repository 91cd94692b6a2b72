//! Packets that another node sends here as the client sent them, but for the destination: direct server return. See
//! `keelson_ebpf_common::wire`.
//!
//! Who is outside can write the option, too: it is believed only where it names a Service that is answered directly, and then says
//! no more than such a client could have had by asking that Service.

use aya_ebpf::helpers::bpf_skb_adjust_room;
use keelson_ebpf_common::{
    drop::Reason,
    key::Frontend6,
    net::Address6,
    packet::Tuple,
    wire::{DirectOption, OPTION_BYTES, OPTION_TYPE},
};

use crate::{
    flows::{self, Source},
    ip::{Ip, V4},
    outside,
    skb::{Plain, Skb},
    state::{EXTERNALS, node4},
    transport::{Kind, Passage},
};

// SAFETY: integers without gaps (its size is asserted where it is declared).
unsafe impl Plain for DirectOption {}

/// Reads and removes the option, and has the answers become the Service's. Whether there was one that is believed.
#[inline(always)]
pub fn take<I: Ip>(skb: Skb, ip: &mut I, passage: &mut Passage) -> Result<bool, Reason> {
    let marked = I::FAMILY == V4::FAMILY
        && ip.transport() == I::HEAD + OPTION_BYTES
        && matches!(passage.kind, Kind::Tcp | Kind::Udp);
    let Some(option) = (if marked { skb.load::<DirectOption>(I::HEAD) } else { None }) else {
        return Ok(false);
    };
    if option.option_type != OPTION_TYPE || u32::from(option.length) != OPTION_BYTES {
        return Ok(false);
    }
    let Passage { from, to, flags, .. } = passage;
    let asked = Tuple { destination: option.address.to_mapped(), destination_port: option.port, ..*from };
    if !is_direct(&asked) {
        return Ok(false);
    }
    let mut known = flows::find(&asked, *flags, to);
    if known && (to.destination, to.destination_port) != (from.destination, from.destination_port) {
        // The client has taken the port of a connection whose end nobody here has seen.
        flows::forget(&asked, to);
        known = false;
    }
    *to = *from;
    if !known {
        flows::make(&asked, to, Source::Direct)?;
    }
    remove(skb, ip, &option)?;
    Ok(true)
}

/// Whether a Service is one whose backends answer clients themselves. The node that sent the packet may have been asked at
/// its own address, on a node port, which is this node's as well.
#[inline(never)]
fn is_direct(asked: &Tuple) -> bool {
    let direct = |address: Address6| {
        let frontend = Frontend6 { address, port: asked.destination_port, protocol: asked.protocol, pad: 0 };
        // SAFETY: as in `external::choose`.
        let external = unsafe { EXTERNALS.get(&frontend) };
        external.and_then(outside::target).is_some_and(|target| target.direct)
    };
    direct(asked.destination) || direct(keelson_ebpf_common::net::Address4(node4()).to_mapped())
}

/// The option out of the packet.
#[inline(always)]
fn remove<I: Ip>(skb: Skb, ip: &mut I, option: &DirectOption) -> Result<(), Reason> {
    /// `BPF_ADJ_ROOM_NET`: what follows the header without options goes.
    const AFTER_HEADER: u32 = 0;
    let bytes = -(OPTION_BYTES as i32);
    // SAFETY: the kernel's context.
    if unsafe { bpf_skb_adjust_room(skb.0, bytes, AFTER_HEADER, 0) } != 0 {
        return Err(Reason::Unwritable);
    }
    let sum = u32::from(u16::from_ne_bytes([option.option_type, option.length]))
        + u32::from(option.port.0)
        + (option.address.0 & 0xffff)
        + (option.address.0 >> 16);
    ip.drop_options(sum);
    skb.store_head_summed(ip)
}
