//! Whose a socket is: the node's own, to which the loopback addresses belong alone; a pod's that wants no translation.

use aya_ebpf::helpers::bpf_get_netns_cookie;
use keelson_ebpf_common::{
    net::{Address4, Address6},
    node::{LOOPBACK6, folded4, is_loopback4},
};

use crate::{
    context::Hook,
    maps::{BYPASS, CONTROL},
};

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

/// Whether the socket is a pod's that wants to see Services' addresses: its packets are translated instead, at its link.
///
/// One word is read, of a line that a connection to a Service reads anyway, unless there is such a pod.
#[inline(always)]
pub fn bypasses(hook: &Hook) -> bool {
    // SAFETY: a pointer from the map; one load of an aligned word.
    let any = CONTROL.get_ptr(0).is_some_and(|control| unsafe { (&raw const (*control).bypass).read_volatile() != 0 });
    any && is_bypassing(hook)
}

#[inline(never)]
fn is_bypassing(hook: &Hook) -> bool {
    // SAFETY: as in `is_node`.
    let netns = unsafe { bpf_get_netns_cookie(hook.raw().cast()) };
    BYPASS.get_ptr(&netns).is_some()
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
