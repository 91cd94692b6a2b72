//! bind(): a node port that a Service has is nobody's to bind, as if a process already held it.
//!
//! Only in the node's own network namespace: a pod's ports are its own. Accepted flaw: a wildcard bind is refused
//! whatever the family of the Service; node ports are allocated for both.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use keelson_ebpf_common::{
    key::{Frontend4, Frontend6},
    net::{Address4, Address6},
    node::port_bit,
};

use crate::{
    context::{ALLOW, Hook},
    frontend, local,
    maps::NODE_PORTS,
};

#[cgroup_sock_addr(bind4)]
pub fn bind4(context: SockAddrContext) -> i32 {
    let hook = Hook::new(&context);
    if is_node_port(&hook) && is_frontend4(&hook, hook.address4()) { hook.in_use() } else { ALLOW }
}

#[cgroup_sock_addr(bind6)]
pub fn bind6(context: SockAddrContext) -> i32 {
    let hook = Hook::new(&context);
    if !is_node_port(&hook) {
        return ALLOW;
    }
    let address = hook.address6();
    let taken = match address.mapped() {
        Some(v4) => is_frontend4(&hook, v4),
        None => is_frontend6(&hook, address),
    };
    if taken { hook.in_use() } else { ALLOW }
}

/// Whether the port is a Service's and the socket the node's own. Port 0 (any) is no node port.
#[inline(always)]
fn is_node_port(hook: &Hook) -> bool {
    let Some((word, bit)) = port_bit(hook.port(), hook.protocol()) else { return false };
    NODE_PORTS.get(word).is_some_and(|ports| ports & bit != 0) && local::is_node(hook)
}

/// `--nodeport-addresses` may leave out some addresses of the node: there the port is free.
#[inline(always)]
fn is_frontend4(hook: &Hook, address: Address4) -> bool {
    let Some(address) = local::resolve4(hook, address) else { return false };
    let key = Frontend4 { address, port: hook.port(), protocol: hook.protocol(), pad: 0 };
    address.0 == 0 || frontend::find4(key).is_some()
}

#[inline(always)]
fn is_frontend6(hook: &Hook, address: Address6) -> bool {
    let key = Frontend6 { address, port: hook.port(), protocol: hook.protocol(), pad: 0 };
    address.0 == [0; 4] || frontend::find6(&key).is_ok_and(|target| target.is_some())
}
