//! getpeername(): the peer of a translated socket is the Service it asked for.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use keelson_ebpf_common::net::{Address6, Port};

use crate::{
    context::{ALLOW, Hook},
    record,
};

#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4(context: SockAddrContext) -> i32 {
    let hook = Hook::new(&context);
    if let Some((address, port)) = frontend(&hook, hook.address4().to_mapped())
        && let Some(v4) = address.mapped()
    {
        hook.set_address4(v4);
        hook.set_port(port);
    }
    ALLOW
}

#[cgroup_sock_addr(getpeername6)]
pub fn getpeername6(context: SockAddrContext) -> i32 {
    let hook = Hook::new(&context);
    if let Some((address, port)) = frontend(&hook, hook.address6()) {
        hook.set_address6(address);
        hook.set_port(port);
    }
    ALLOW
}

/// What the socket asked for, if its peer is still the one that it was sent to: a UDP socket may have been connected
/// elsewhere since.
#[inline(always)]
fn frontend(hook: &Hook, peer: Address6) -> Option<(Address6, Port)> {
    let record = record::get(hook.cookie())?;
    let ours = record.backend == peer && record.backend_port == hook.port();
    if ours { Some((record.frontend, record.frontend_port)) } else { None }
}
