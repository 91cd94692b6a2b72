//! Per-packet programs: the pods' network, and every translation that no socket hook made.
//!
//! | program | hook | what |
//! |---|---|---|
//! | from_pod | ingress of a pod's link | Services, then straight to the other pod's link or the uplink |
//! | to_pod | egress of a pod's link | answers that came through the node's own stack get their Service back |
//! | from_uplink | ingress of the uplink and the tunnel | Services from outside, answers, then straight to the pod's link; ARP and neighbour discovery for load balancers' addresses |
//! | to_uplink | egress of the uplink | what leaves the cluster gets the node's address |
//!
//! What a policed pod sends or is sent is judged ([`policy`]): once, by whoever sees it first, what it sends as it is after
//! Services were translated. Whoever delivers to a pod past its link's programs has judged for it.
//!
//! A packet is read ([`ip`], [`transport`]), its fate decided ([`flows`], [`service`], [`external`]), then it is written
//! once and sent ([`forward`]). What a program does not understand or cannot decide goes on unchanged to whoever is
//! next on the hook, and to the node's own stack. Every drop has a number in `keelson_ebpf_common::drop`.
//! Kernel 6.1 and newer: no CO-RE, no kfuncs. Does not fill the tables: that is `node/dataplane`.
#![no_std]
#![no_main]

#[macro_use]
mod global;

mod affinity;
mod answer;
mod arp;
mod direct;
mod extension;
mod external;
mod flows;
mod forward;
mod from_pod;
mod from_uplink;
mod icmp;
mod ip;
mod judged;
mod ndp;
mod node;
mod outside;
mod pace;
mod policy;
mod service;
mod skb;
mod state;
mod to_pod;
mod to_uplink;
mod transport;

// The tables of Services are those of the socket programs, and so is the way to look them up; and so are the counters and the
// stream of events.
#[path = "../sock/drops.rs"]
mod drops;
#[path = "../sock/frontend.rs"]
mod frontend;
#[path = "../sock/maps.rs"]
mod maps;
#[path = "../sock/say.rs"]
#[expect(dead_code, reason = "verdicts are the wire's")]
mod say;
#[path = "../sock/flows.rs"]
mod stream;

/// The helpers used ask for a GPL-compatible licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// The layout that these programs take for granted; the daemon refuses an object of another one.
#[unsafe(link_section = "keelson.layout")]
#[unsafe(no_mangle)]
static LAYOUT: [u8; 24] = keelson_ebpf_common::layout::MARK;

/// Needed to compile, never reached: nothing here panics, or the verifier would see it.
#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
