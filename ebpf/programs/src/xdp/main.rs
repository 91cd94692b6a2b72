//! The program on the uplink's wire: packets to Services with backends on other nodes go on to them before the node's stack has seen
//! them, and their answers back to the clients.
//!
//! A packet is read ([`frame`], [`headers`]), its backend found among the known flows ([`known`], [`ways`]) or chosen ([`direct`]), the way to it
//! remembered ([`hop`]), then it is written and sent back out by the wire ([`send`]). Where the Service's backends do not
//! answer clients themselves, it is translated as its flow says, in the table that tc has, too ([`translate`], [`flows`]). Whatever
//! this does not understand or cannot decide goes on to tc, which can do all of it: fragments, options and extension headers, ICMP,
//! backends of this node, the first packet of a client with session affinity to a Service that is not answered directly.
//!
//! A checksum that is to be made later, by a device (a packet from a local link), is invisible here and would be spoilt: such
//! links must make their own.
//! Kernel 6.1 and newer: no CO-RE, no kfuncs. Does not fill the tables: that is `node/dataplane`.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

#[macro_use]
#[path = "../tc/global.rs"]
mod global;

mod decide;
mod direct;
mod frame;
mod headers;
mod hop;
mod known;
mod send;
mod send6;
mod state;
mod too_long;
mod translate;
mod ways;

#[path = "../tc/affinity.rs"]
mod affinity;
#[path = "../sock/drops.rs"]
mod drops;
#[path = "../tc/flows.rs"]
#[expect(dead_code, reason = "a direct flow's second half is tc's alone")]
mod flows;
#[path = "../tc/node.rs"]
mod node;
#[path = "../tc/outside.rs"]
mod outside;
#[path = "../sock/say.rs"]
#[expect(dead_code, reason = "it chooses elsewhere")]
mod say;

use aya_ebpf::{macros::xdp, programs::XdpContext};

/// The helpers used ask for a GPL-compatible licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// The layout that this program takes for granted; the daemon refuses an object of another one.
#[unsafe(link_section = "keelson.layout")]
#[unsafe(no_mangle)]
static LAYOUT: [u8; 24] = keelson_ebpf_common::layout::MARK;

/// Takes packets in several buffers, so that the device keeps its segmentation offloads and a large MTU.
#[xdp(frags)]
pub fn wire(context: XdpContext) -> u32 {
    decide::run(&context)
}

/// The same for the kernel's generic receive path, which merges no packets before a program has seen them (`netif_elide_gro`). A packet that has to be moved for a program of several buffers comes out of
/// that without the length of its Ethernet header (`skb_pp_cow_data`, seen in Linux 6.18), and tc then reads it askew; for a
/// program of one buffer it is made linear instead.
#[xdp]
pub fn wire_generic(context: XdpContext) -> u32 {
    decide::run(&context)
}

/// What it costs to run a program that does nothing: measured beside the other, attached nowhere.
#[xdp(frags)]
pub fn pass(_context: XdpContext) -> u32 {
    frame::PASS
}

/// Needed to compile, never reached: nothing here panics, or the verifier would see it.
#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
