//! What the programs say of their decisions while somebody debugs them (`keelson-node --debug-programs`).
//!
//! Whether they do is a constant that the loader writes (`AYA_LOG_LEVEL`): where they do not, the verifier takes all of this out before
//! a program runs, but for one load of that constant at each place. Everything is said in functions of their own, which
//! lend no stack to those who decide.

use aya_log_ebpf::{
    debug,
    macro_support::{Level, level_enabled},
};
use keelson_ebpf_common::{
    drop::Reason,
    net::{Address6, Port},
    wire::Verdict,
};

/// A frontend leads to a backend.
#[inline(always)]
pub fn chosen(frontend: (Address6, Port), backend: (Address6, Port)) {
    if level_enabled(Level::Debug) {
        tell_chosen(&frontend.0, &backend.0, ports(frontend.1, backend.1));
    }
}

/// Something was decided against a client, or could not be done for it.
#[inline(always)]
pub fn counted(reason: Reason) {
    if level_enabled(Level::Debug) {
        tell_counted(reason as u32);
    }
}

/// What became of a packet on the wire.
#[inline(always)]
pub fn decided(verdict: Verdict) {
    if level_enabled(Level::Debug) {
        tell_decided(verdict as u32);
    }
}

/// Both as the host has them.
#[inline(always)]
fn ports(frontend: Port, backend: Port) -> u32 {
    u32::from(u16::from_be(frontend.0)) << 16 | u32::from(u16::from_be(backend.0))
}

#[inline(never)]
fn tell_chosen(frontend: &Address6, backend: &Address6, ports: u32) {
    let (from, to) = (octets(frontend), octets(backend));
    debug!((), "{:i} port {} goes to {:i} port {}", from, ports >> 16, to, ports & 0xffff);
}

#[inline(never)]
fn tell_counted(reason: u32) {
    debug!((), "counted as reason {}", reason);
}

#[inline(never)]
fn tell_decided(verdict: u32) {
    debug!((), "packet on the wire: verdict {}", verdict);
}

#[inline(always)]
fn octets(address: &Address6) -> [u8; 16] {
    // SAFETY: four words of four bytes, in network order both.
    unsafe { core::mem::transmute(address.0) }
}
