//! Packets that another node sends here as the client sent them, but for the destination: direct server return. See
//! `keelson_ebpf_common::wire`.
//!
//! Of IPv4 the option stands in the header, of IPv6 alone in an extension header; a packet with more than that is none of ours. Who
//! is outside can write the option, too: it is believed only where it names a Service that is answered directly, and then says no
//! more than such a client could have had by asking that Service.

use aya_ebpf::helpers::bpf_skb_adjust_room;
use keelson_ebpf_common::{
    drop::Reason,
    key::Frontend6,
    net::{Address4, Address6, Port},
    packet::Tuple,
    wire::{
        DirectOption, DirectOption6, OPTION_BYTES, OPTION_TYPE, OPTION6_BYTES, OPTION6_LENGTH, OPTION6_TYPE,
    },
};

use crate::{
    extension,
    flows::{self, Source},
    ip::{Ip, V4, V6},
    node::{node4, node6},
    outside,
    skb::{Plain, Skb},
    transport::{Kind, Passage},
};

// SAFETY: integers without gaps (its size is asserted where it is declared).
unsafe impl Plain for DirectOption {}
// SAFETY: as above.
unsafe impl Plain for DirectOption6 {}

/// What says which Service a packet is for, in the way of its family.
pub trait Marked: Ip {
    /// The option.
    type Option: Plain;
    /// What of the packet it is.
    const BYTES: u32;

    /// Whether it may be where it belongs.
    fn may_be_marked(&self) -> bool;
    /// The Service's address and port, if it is that option.
    fn service(option: &Self::Option) -> Option<(Address6, Port)>;
    /// The headers without it.
    fn without(&mut self, option: &Self::Option);
    /// The node's own address.
    fn node() -> Address6;
}

impl Marked for V4 {
    type Option = DirectOption;
    const BYTES: u32 = OPTION_BYTES;

    #[inline(always)]
    fn may_be_marked(&self) -> bool {
        true
    }

    #[inline(always)]
    fn service(option: &DirectOption) -> Option<(Address6, Port)> {
        let ours = option.option_type == OPTION_TYPE && u32::from(option.length) == OPTION_BYTES;
        if ours { Some((option.address.to_mapped(), option.port)) } else { None }
    }

    #[inline(always)]
    fn without(&mut self, option: &DirectOption) {
        let sum = u32::from(u16::from_ne_bytes([option.option_type, option.length]))
            + u32::from(option.port.0)
            + (option.address.0 & 0xffff)
            + (option.address.0 >> 16);
        self.drop_options(sum);
    }

    #[inline(always)]
    fn node() -> Address6 {
        Address4(node4()).to_mapped()
    }
}

impl Marked for V6 {
    type Option = DirectOption6;
    const BYTES: u32 = OPTION6_BYTES;

    #[inline(always)]
    fn may_be_marked(&self) -> bool {
        self.protocol() == extension::DESTINATION
    }

    #[inline(always)]
    fn service(option: &DirectOption6) -> Option<(Address6, Port)> {
        let ours = option.units == DirectOption6::UNITS
            && option.option_type == OPTION6_TYPE
            && option.length == OPTION6_LENGTH;
        if ours { Some((option.address, option.port)) } else { None }
    }

    #[inline(always)]
    fn without(&mut self, option: &DirectOption6) {
        self.drop_extension(OPTION6_BYTES as u16, option.next_header);
    }

    #[inline(always)]
    fn node() -> Address6 {
        Address6(node6())
    }
}

/// Reads and removes the option, and has the answers become the Service's. Whether there was one that is believed.
#[inline(always)]
pub fn take<I: Marked>(skb: Skb, ip: &mut I, passage: &mut Passage) -> Result<bool, Reason> {
    let Passage { from, to, carried, kind, flags, .. } = passage;
    let marked =
        carried.at == I::HEAD + I::BYTES && ip.may_be_marked() && matches!(kind, Kind::Tcp | Kind::Udp);
    let Some(option) = (if marked { skb.load::<I::Option>(I::HEAD) } else { None }) else {
        return Ok(false);
    };
    let Some((address, port)) = I::service(&option) else { return Ok(false) };
    let asked = Tuple { destination: address, destination_port: port, ..*from };
    if !is_direct(&asked, I::node()) {
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
    remove::<I>(skb)?;
    carried.at = I::HEAD;
    ip.without(&option);
    skb.store_head_summed(ip)?;
    Ok(true)
}

/// Whether a Service is one whose backends answer clients themselves. The node that sent the packet may have been asked at
/// its own address, on a node port, which is this node's as well.
#[inline(never)]
fn is_direct(asked: &Tuple, node: Address6) -> bool {
    let direct = |address: Address6| {
        let frontend = Frontend6 { address, port: asked.destination_port, protocol: asked.protocol, pad: 0 };
        outside::external(&frontend).and_then(outside::target).is_some_and(|target| target.direct)
    };
    direct(asked.destination) || direct(node)
}

/// The option out of the packet.
#[inline(always)]
fn remove<I: Marked>(skb: Skb) -> Result<(), Reason> {
    /// `BPF_ADJ_ROOM_NET`: what follows the header without options goes.
    const AFTER_HEADER: u32 = 0;
    // SAFETY: the kernel's context.
    let failed = unsafe { bpf_skb_adjust_room(skb.0, -(I::BYTES as i32), AFTER_HEADER, 0) };
    if failed == 0 { Ok(()) } else { Err(Reason::Unwritable) }
}
