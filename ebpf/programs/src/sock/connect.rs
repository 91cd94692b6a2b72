//! connect(): choose a backend, rewrite the destination, remember the socket.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use keelson_ebpf_common::{
    net::{Address6, Port},
    value::Connection,
};

use crate::{
    context::{ALLOW, Hook},
    record,
    select::{Choice, Entropy, choose4, choose6},
};

#[cgroup_sock_addr(connect4)]
pub fn connect4(context: SockAddrContext) -> i32 {
    let hook = Hook::new(&context);
    let (address, port) = (hook.address4(), hook.port());
    match choose4(&hook, address, Entropy::Random) {
        Choice::NotService => ALLOW,
        Choice::Refuse => hook.refuse(),
        Choice::Backend(to) => {
            remember(&hook, (address.to_mapped(), port), (to.address.to_mapped(), to.port));
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
    let (backend, backend_port) = match address.mapped() {
        Some(v4) => match choose4(&hook, v4, Entropy::Random) {
            Choice::NotService => return ALLOW,
            Choice::Refuse => return hook.refuse(),
            Choice::Backend(to) => (to.address.to_mapped(), to.port),
        },
        None => match choose6(&hook, address, Entropy::Random) {
            Choice::NotService => return ALLOW,
            Choice::Refuse => return hook.refuse(),
            Choice::Backend(to) => (to.address, to.port),
        },
    };
    remember(&hook, (address, port), (backend, backend_port));
    hook.set_address6(backend);
    hook.set_port(backend_port);
    ALLOW
}

#[inline(always)]
fn remember(hook: &Hook, frontend: (Address6, Port), backend: (Address6, Port)) {
    let record = Connection {
        frontend: frontend.0,
        backend: backend.0,
        frontend_port: frontend.1,
        backend_port: backend.1,
        pad: 0,
    };
    record::put(hook.cookie(), &record);
}
