//! Socket programs: a Service is translated when a socket names it, never per packet.
//!
//! | hook | when | what |
//! |---|---|---|
//! | connect4/6 | connect(), TCP and UDP | choose a backend, remember the socket |
//! | sendmsg4/6 | sendto() of an unconnected UDP socket | the same choice every time, remember the flow |
//! | recvmsg4/6 | recvfrom() of UDP | the source becomes the Service again |
//! | getpeername4/6 | getpeername() | the peer is the Service |
//! | bind4/6 | bind() in the node's own namespace | a Service's node port is in use |
//! | sock_release | the last close() | forget the socket |
//! | measure (sockops) | established, ended | how long connect() took; add the connection to its totals |
//!
//! An IPv4 address on an AF_INET6 socket passes the v6 hooks in mapped form, except sendto(), which passes sendmsg4.
//! A pod that says so is left alone by connect() and sendto(): see `local`.
//! Kernel 6.1 and newer: no CO-RE, no kfuncs. Does not fill the tables: that is `node/dataplane`.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod affinity;
mod atomic;
mod bind;
mod connect;
mod context;
mod datagram;
mod drops;
mod flows;
mod frontend;
mod local;
mod maps;
mod measure;
mod record;
mod release;
mod reverse;
#[expect(dead_code, reason = "verdicts are the wire's")]
mod say;
mod select;
mod totals;

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
