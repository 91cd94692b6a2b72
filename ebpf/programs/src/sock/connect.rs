//! connect(): choose a backend, rewrite the destination, remember the socket.
//!
//! The socket's slot is looked at before the Service is: both lines are likely cold, and so come at the same time. Between
//! the two there may be no call that locks, as the first one of a socket's cookie does.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use keelson_ebpf_common::net::{Address6, Port};

use crate::{
    context::{ALLOW, Hook},
    frontend::may_be4,
    local::bypasses,
    measure,
    record::Slot,
    say,
    select::{Choice, Entropy, choose4, choose6},
};

#[cgroup_sock_addr(connect4)]
pub fn connect4(context: SockAddrContext) -> i32 {
    let hook = Hook::new(&context);
    let (address, port) = (hook.address4(), hook.port());
    if !may_be4(address) || bypasses(&hook) {
        return ALLOW;
    }
    let slot = Slot::of(hook.cookie());
    match choose4(&hook, address, Entropy::Random) {
        Choice::NotService => ALLOW,
        Choice::Refuse => hook.refuse(),
        Choice::Backend(to) => {
            remember(&hook, slot, (address.to_mapped(), port), (to.address.to_mapped(), to.port));
            hook.set_address4(to.address);
            hook.set_port(to.port);
            ALLOW
        }
    }
}

#[cgroup_sock_addr(connect6)]
pub fn connect6(context: SockAddrContext) -> i32 {
    let hook = Hook::new(&context);
    let (address, port) = (hook.address6(), hook.port());
    let (slot, backend, backend_port) = match address.mapped() {
        Some(v4) if !may_be4(v4) || bypasses(&hook) => return ALLOW,
        Some(v4) => {
            let slot = Slot::of(hook.cookie());
            match choose4(&hook, v4, Entropy::Random) {
                Choice::NotService => return ALLOW,
                Choice::Refuse => return hook.refuse(),
                Choice::Backend(to) => (slot, to.address.to_mapped(), to.port),
            }
        }
        None if bypasses(&hook) => return ALLOW,
        None => match choose6(&hook, address, Entropy::Random) {
            Choice::NotService => return ALLOW,
            Choice::Refuse => return hook.refuse(),
            Choice::Backend(to) => (Slot::of(hook.cookie()), to.address, to.port),
        },
    };
    remember(&hook, slot, (address, port), (backend, backend_port));
    hook.set_address6(backend);
    hook.set_port(backend_port);
    ALLOW
}

#[inline(always)]
fn remember(hook: &Hook, slot: Option<Slot>, frontend: (Address6, Port), backend: (Address6, Port)) {
    say::chosen(frontend, backend);
    // There is a slot for every cookie: only the verifier does not know.
    if let Some(slot) = slot {
        slot.put(measure::begin(hook.protocol()), frontend, backend);
    }
}
