//! sendto() and recvfrom() of UDP: out to a backend, back in from the Service.
//!
//! The choice depends on the socket and the Service alone, so a client that never connects (QUIC, DNS) talks to one
//! backend while the Service's set is unchanged. Accepted flaw: when the set changes, some flows move to another
//! backend although theirs is still there. Mending it costs a second map on the path of every datagram.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use keelson_ebpf_common::{
    drop::Reason,
    key,
    net::{Address6, Port},
    value,
};

use crate::{
    context::{ALLOW, Hook},
    drops,
    frontend::may_be4,
    local::bypasses,
    maps::DATAGRAMS,
    record, say,
    select::{Choice, Entropy, choose4, choose6},
};

#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(context: SockAddrContext) -> i32 {
    let hook = Hook::new(&context);
    let (address, port) = (hook.address4(), hook.port());
    if !may_be4(address) || bypasses(&hook) {
        return ALLOW;
    }
    let cookie = hook.cookie();
    match choose4(&hook, address, Entropy::Flow(flow(cookie, address.0, port))) {
        Choice::NotService => ALLOW,
        Choice::Refuse => hook.refuse(),
        Choice::Backend(to) => {
            remember(cookie, (address.to_mapped(), port), (to.address.to_mapped(), to.port));
            hook.set_address4(to.address);
            hook.set_port(to.port);
            ALLOW
        }
    }
}

/// Mapped addresses never come here: the kernel turns to its IPv4 path, and to [`sendmsg4`], first.
#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(context: SockAddrContext) -> i32 {
    let hook = Hook::new(&context);
    let (address, port) = (hook.address6(), hook.port());
    if bypasses(&hook) {
        return ALLOW;
    }
    let cookie = hook.cookie();
    let [a, b, c, d] = address.0;
    match choose6(&hook, address, Entropy::Flow(flow(cookie, a ^ b ^ c ^ d, port))) {
        Choice::NotService => ALLOW,
        Choice::Refuse => hook.refuse(),
        Choice::Backend(to) => {
            remember(cookie, (address, port), (to.address, to.port));
            hook.set_address6(to.address);
            hook.set_port(to.port);
            ALLOW
        }
    }
}

#[cgroup_sock_addr(recvmsg4)]
pub fn recvmsg4(context: SockAddrContext) -> i32 {
    let hook = Hook::new(&context);
    if let Some((address, port)) = source(&hook, hook.address4().to_mapped(), hook.port())
        && let Some(v4) = address.mapped()
    {
        hook.set_address4(v4);
        hook.set_port(port);
    }
    ALLOW
}

#[cgroup_sock_addr(recvmsg6)]
pub fn recvmsg6(context: SockAddrContext) -> i32 {
    let hook = Hook::new(&context);
    if let Some((address, port)) = source(&hook, hook.address6(), hook.port()) {
        hook.set_address6(address);
        hook.set_port(port);
    }
    ALLOW
}

/// The Service that a datagram from this backend is an answer of.
#[inline(always)]
fn source(hook: &Hook, backend: Address6, backend_port: Port) -> Option<(Address6, Port)> {
    let cookie = hook.cookie();
    if hook.connected() {
        let record = record::get(cookie)?;
        let ours = record.backend == backend && record.backend_port == backend_port;
        return if ours { Some((record.frontend, record.frontend_port)) } else { None };
    }
    let key = key::Datagram { cookie, backend, backend_port, pad: [0; 3] };
    // SAFETY: an LRU element may be given to another flow under our eyes: when 16,384 younger flows come between
    // this lookup and the next two loads. Accepted.
    let flow = unsafe { DATAGRAMS.get(&key) }?;
    Some((flow.frontend, flow.frontend_port))
}

/// Writes the flow's record unless it is there: then the lookup alone keeps it young.
#[inline(always)]
fn remember(cookie: u64, frontend: (Address6, Port), backend: (Address6, Port)) {
    say::chosen(frontend, backend);
    let key = key::Datagram { cookie, backend: backend.0, backend_port: backend.1, pad: [0; 3] };
    // SAFETY: as in `source`; a torn value differs and is written again.
    if let Some(known) = unsafe { DATAGRAMS.get(&key) }
        && known.frontend == frontend.0
        && known.frontend_port == frontend.1
    {
        return;
    }
    let value = value::Datagram { frontend: frontend.0, frontend_port: frontend.1, pad: [0; 3] };
    if DATAGRAMS.insert(&key, &value, 0).is_err() {
        drops::count(Reason::DatagramsFull);
    }
}

/// 32 well-mixed bits of a flow: cookies are consecutive numbers, so they are spread by the finalizer of MurmurHash3.
#[inline(always)]
fn flow(cookie: u64, address: u32, port: Port) -> u32 {
    let mut h = cookie ^ (u64::from(address) << 16) ^ u64::from(port.0);
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^= h >> 33;
    h = h.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (h ^ (h >> 33)) as u32
}
