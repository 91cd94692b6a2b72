//! Sockets of the node itself, and the loopback addresses that are theirs alone.

use aya_ebpf::helpers::bpf_get_netns_cookie;
use keelson_ebpf_common::{
    net::{Address4, Address6},
    node::{LOOPBACK6, folded4, is_loopback4},
};

use crate::context::Hook;

/// The node's own network namespace; written by whoever loads the programs, a constant to the verifier.
#[unsafe(no_mangle)]
static NODE_NETNS: u64 = 0;

/// Whether the socket is in the node's own network namespace.
#[inline(always)]
pub fn is_node(hook: &Hook) -> bool {
    // SAFETY: a static of this program, volatile because the loader writes it; the helper takes this context and is
    // allowed in every sock_addr hook.
    unsafe { bpf_get_netns_cookie(hook.raw().cast()) == (&raw const NODE_NETNS).read_volatile() }
}

/// The address that a frontend has: every loopback address is one to the node. `None` for a pod's own loopback, where
/// no Service is.
#[inline(always)]
pub fn resolve4(hook: &Hook, address: Address4) -> Option<Address4> {
    if is_loopback4(address) && !is_node(hook) { None } else { Some(folded4(address)) }
}

/// Whether an IPv6 address may be a frontend's for this socket: a pod's own loopback is not.
#[inline(always)]
pub fn may_be6(hook: &Hook, address: Address6) -> bool {
    address != LOOPBACK6 || is_node(hook)
}
