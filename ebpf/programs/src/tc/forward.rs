//! The last step: a packet is written as it goes on, and sent the shortest way.
//!
//! To a pod of this node straight into its link (`bpf_redirect_peer`, past the host's end, its programs and its queue, unless
//! the pod is shaped); elsewhere
//! straight to the uplink or a tunnel, if that is where the route leads; else up to the node's own stack.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::{bpf_fib_lookup as FibLookup, bpf_redir_neigh as Neighbour, bpf_redir_neigh__bindgen_ty_1},
    helpers::{bpf_check_mtu, bpf_fib_lookup, bpf_redirect, bpf_redirect_neigh, bpf_redirect_peer},
};
use keelson_ebpf_common::{
    drop::Reason,
    net::{Address4, Address6},
    packet::{Endpoint, Tuple, endpoint_flag},
};

use crate::{
    answer,
    ip::{Hop, Ip},
    node::uplink,
    skb::{self, PASS, Skb},
    state::tunnel,
    transport::{self, Passage},
};

/// A packet, and its flow before and after.
pub struct Packet<'a, I> {
    pub skb: Skb,
    pub ip: &'a mut I,
    pub passage: &'a Passage,
}

/// Where a packet that goes elsewhere may go when the uplink is not its way.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Otherwise {
    /// Up the node's own stack, which routes it.
    Stack,
    /// Nowhere: the stack would take its source for its own, or its destination for nobody's.
    Nowhere,
}

impl<I: Ip> Packet<'_, I> {
    /// Sends it on from where it came in, to the pod of this node that has its destination, or elsewhere.
    #[inline(always)]
    pub fn send(self, to: Option<&Endpoint>, otherwise: Otherwise) -> i32 {
        let hop_left = self.ip.hops() > 1;
        if let Some(to) = to {
            if to.ifindex == Endpoint::NODE {
                return self.stay();
            }
            // The stack answers what may go no further, but only packets of flows that it can know.
            if !hop_left {
                return PASS;
            }
            return self.into_pod(to);
        }
        if uplink() == 0 || !hop_left {
            return if otherwise == Otherwise::Stack { self.stay() } else { skb::drop(Reason::NoRoute) };
        }
        let mut next = MaybeUninit::uninit();
        match next_hop(self.skb, I::FAMILY, &self.passage.to, &mut next) {
            // SAFETY: written, as the answer says.
            FOUND => self.out(unsafe { next.assume_init_mut() }),
            _ if otherwise == Otherwise::Stack => self.stay(),
            // What may be divided is, around what it is wrapped in.
            // SAFETY: as above.
            TOO_LONG if self.ip.may_be_divided() => self.out(unsafe { next.assume_init_mut() }),
            // SAFETY: as above.
            TOO_LONG => {
                let mtu = unsafe { next.assume_init_ref() }.mtu;
                answer::too_long(self.skb, self.ip, self.passage.carried.at, mtu)
            }
            _ => skb::drop(Reason::NoRoute),
        }
    }

    /// Writes it and leaves it on its way.
    #[inline(always)]
    pub fn stay(self) -> i32 {
        if self.passage.from == self.passage.to {
            return PASS;
        }
        match self.write(Hop::SAME) {
            Ok(()) => PASS,
            Err(reason) => skb::drop(reason),
        }
    }

    #[inline(always)]
    fn into_pod(self, to: &Endpoint) -> i32 {
        let (ifindex, mac, host_mac, flags) = (to.ifindex, to.mac, to.host_mac, to.flags);
        let skb = self.skb;
        match self.write(Hop { counted: true, macs: Some((mac, host_mac)) }) {
            // Sent by the host's end: its queue is what bounds the rate.
            // SAFETY: takes no pointer.
            Ok(()) if flags & endpoint_flag::SHAPED != 0 => unsafe {
                // That end's program sees it as it is delivered, behind what it is judged by.
                skb.set_judged(true);
                bpf_redirect(ifindex, 0) as i32
            },
            // SAFETY: takes no pointer.
            Ok(()) => unsafe { bpf_redirect_peer(ifindex, 0) as i32 },
            Err(reason) => skb::drop(reason),
        }
    }

    #[inline(always)]
    fn out(self, next: &mut Next) -> i32 {
        match self.write(Hop { counted: true, macs: None }) {
            // SAFETY: the structure outlives the call, and its size is its own.
            Ok(()) => unsafe {
                let neighbour = &raw mut next.neighbour;
                bpf_redirect_neigh(next.ifindex, neighbour, size_of::<Neighbour>() as i32, 0) as i32
            },
            Err(reason) => skb::drop(reason),
        }
    }

    #[inline(always)]
    fn write(self, hop: Hop) -> Result<(), Reason> {
        let Passage { from, to, .. } = self.passage;
        if from != to {
            transport::write::<I>(self.skb, self.passage)?;
        }
        self.ip.store(self.skb, &to.source, &to.destination, hop)
    }
}

/// The next node on a packet's way.
struct Next {
    /// The device that leads there: the uplink or a tunnel.
    ifindex: u32,
    /// Bytes of the longest packet that does; only told of one that is longer.
    mtu: u32,
    neighbour: Neighbour,
}

/// What [`next_hop`] answers. Numbers, not an enum: see `transport::Passage` for what the verifier thinks of those.
const NONE: u32 = 0;
const FOUND: u32 = 1;
const TOO_LONG: u32 = 2;

/// The neighbour on the uplink or in a tunnel that leads to a destination. `NONE` when neither does, or the host does not
/// forward, or the packet is too long for the uplink; `TOO_LONG` when it is for a tunnel, by what is put around it there.
#[inline(never)]
fn next_hop(skb: Skb, family: u8, to: &Tuple, next: &mut MaybeUninit<Next>) -> u32 {
    let mut route = route(family, to);
    let answer = look_up(skb, &mut route);
    let ifindex = route.ifindex;
    let by_tunnel = ifindex != uplink();
    let leads = if by_tunnel { leads_to_tunnel(answer, ifindex) } else { ROUTED.contains(&answer) };
    if !leads {
        return NONE;
    }
    let mut mtu = 0_u32;
    let fits = !by_tunnel || fits(skb, ifindex, &mut mtu);
    // SAFETY: all bytes of the union are initialized, the first four are those of an IPv4 next hop.
    let ipv6_nh = unsafe { route.__bindgen_anon_4.ipv6_dst };
    let neighbour = Neighbour {
        nh_family: u32::from(route.family),
        __bindgen_anon_1: bpf_redir_neigh__bindgen_ty_1 { ipv6_nh },
    };
    next.write(Next { ifindex, mtu, neighbour });
    if fits { FOUND } else { TOO_LONG }
}

/// `BPF_FIB_LKUP_RET_SUCCESS` and `_NO_NEIGH`: a route was found; whether the neighbour's hardware address is known is for the
/// kernel, which asks for it.
const ROUTED: [i64; 2] = [0, 7];

/// `BPF_FIB_LKUP_RET_FRAG_NEEDED`: a route was found, and the packet is too long for it.
const FRAG_NEEDED: i64 = 8;

/// Whether the way that was found is that of a tunnel, be the packet too long for it or not.
#[inline(always)]
fn leads_to_tunnel(answer: i64, ifindex: u32) -> bool {
    (ROUTED.contains(&answer) || answer == FRAG_NEEDED) && tunnel(ifindex).is_some()
}

/// What leads to an address: see [`way`].
pub const BY_UPLINK: u32 = 1;
pub const BY_TUNNEL: u32 = 2;

/// What leads to an address; 0 for anything else, or nothing. If it is a tunnel, `to` gets the node's address there as its source, zeros
/// if it has none of that family.
#[inline(never)]
pub fn way(skb: Skb, family: u8, to: &mut Tuple) -> u32 {
    let mut route = route(family, to);
    let answer = look_up(skb, &mut route);
    if route.ifindex == uplink() {
        return if ROUTED.contains(&answer) { BY_UPLINK } else { 0 };
    }
    if !leads_to_tunnel(answer, route.ifindex) {
        return 0;
    }
    let Some(tunnel) = tunnel(route.ifindex) else { return 0 };
    to.source = if to.destination.mapped().is_some() {
        Address4(tunnel.node4).to_mapped()
    } else {
        Address6(tunnel.node6)
    };
    BY_TUNNEL
}

/// Whether a packet, or each of those that it is to be cut into, is short enough for a device. Routes do not tell of the
/// latter.
#[inline(always)]
fn fits(skb: Skb, ifindex: u32, mtu: &mut u32) -> bool {
    /// `BPF_MTU_CHK_SEGS` (include/uapi/linux/bpf.h).
    const EACH_PIECE: u64 = 1;
    // SAFETY: the kernel's context and a word that is zero.
    unsafe { bpf_check_mtu(skb.0.cast(), ifindex, &raw mut *mtu, 0, EACH_PIECE) == 0 }
}

/// Whether a packet to somewhere goes no further than this node: it is the node's own address, or there is no way at all.
#[inline(never)]
pub fn ends_here(skb: Skb, family: u8, to: &Tuple) -> bool {
    /// `BPF_FIB_LKUP_RET_NOT_FWDED`.
    const NOT_FORWARDED: i64 = 4;
    look_up(skb, &mut route(family, to)) == NOT_FORWARDED
}

#[inline(always)]
fn route(family: u8, to: &Tuple) -> FibLookup {
    // SAFETY: integers and unions of integers.
    let mut route: FibLookup = unsafe { core::mem::zeroed() };
    route.family = family;
    route.l4_protocol = to.protocol;
    route.sport = to.source_port.0;
    route.dport = to.destination_port.0;
    if to.destination.mapped().is_some() {
        route.__bindgen_anon_3.ipv4_src = to.source.0[3];
        route.__bindgen_anon_4.ipv4_dst = to.destination.0[3];
    } else {
        route.__bindgen_anon_3.ipv6_src = to.source.0;
        route.__bindgen_anon_4.ipv6_dst = to.destination.0;
    }
    route
}

#[inline(always)]
fn look_up(skb: Skb, route: &mut FibLookup) -> i64 {
    route.ifindex = skb.ifindex();
    // SAFETY: the kernel's context and a structure of the size stated.
    unsafe { bpf_fib_lookup(skb.0.cast(), &raw mut *route, size_of::<FibLookup>() as i32, 0) as i64 }
}
