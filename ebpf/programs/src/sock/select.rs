//! From a destination to a backend, which for most Services of IPv4 is in the line of the frontend, else in a slot.
//!
//! The rules for reading while the daemon writes are in `keelson_ebpf_common::value`.

use aya_ebpf::{helpers::bpf_get_prandom_u32, maps::Array};
use keelson_ebpf_common::{
    drop::Reason,
    key::{Frontend4, Frontend6},
    net::{Address4, Address6, Port},
    value::{Backend4, Backend6, Target},
};

use crate::{
    affinity,
    context::Hook,
    drops,
    frontend::{self, Leads4},
    local,
    maps::{BACKENDS4, BACKENDS6},
    measure,
};

/// Where a call is sent.
pub struct Chosen<A> {
    pub address: A,
    pub port: Port,
}

/// What the tables say about a destination.
pub enum Choice<A> {
    /// Not a Service: the call goes on untouched.
    NotService,
    /// A Service without backends.
    Refuse,
    /// Send it there.
    Backend(Chosen<A>),
}

/// Where the 32 bits that choose a slot come from.
pub enum Entropy {
    /// Anew each time: a connection.
    Random,
    /// Of the flow: the datagrams of an unconnected socket stay with one backend while the set is unchanged.
    Flow(u32),
}

/// Looks up an IPv4 destination.
#[inline(always)]
pub fn choose4(hook: &Hook, address: Address4, entropy: Entropy) -> Choice<Address4> {
    let Some(address) = local::resolve4(hook, address) else { return Choice::NotService };
    let key = Frontend4 { address, port: hook.port(), protocol: hook.protocol(), pad: 0 };
    let target = match frontend::find4(key) {
        None => return Choice::NotService,
        Some(Leads4::Here(backends)) if backends.is_empty() => Target::default(),
        Some(Leads4::Here(backends)) => {
            let Backend4 { address, port, .. } = backends.pick(bits(&entropy));
            return Choice::Backend(Chosen { address, port });
        }
        Some(Leads4::Slots(target)) => target,
    };
    if target.span.count == 0 {
        return no_backend(key.to_mapped());
    }
    let index = target.span.slot(bits(&entropy));
    let Some(Backend4 { address, port, .. }) = slot(&BACKENDS4, index) else { return bad_record() };
    if target.affinity_s == 0 {
        return Choice::Backend(Chosen { address, port });
    }
    let (held, port) = affinity::hold(hook, key.to_mapped(), target.affinity_s, address.to_mapped(), port);
    Choice::Backend(Chosen { address: Address4(held.0[3]), port })
}

/// Looks up an IPv6 destination that is not a mapped address.
#[inline(always)]
pub fn choose6(hook: &Hook, address: Address6, entropy: Entropy) -> Choice<Address6> {
    if !local::may_be6(hook, address) {
        return Choice::NotService;
    }
    let key = Frontend6 { address, port: hook.port(), protocol: hook.protocol(), pad: 0 };
    let target = match frontend::find6(&key) {
        Ok(Some(target)) => target,
        Ok(None) => return Choice::NotService,
        Err(()) => return bad_record(),
    };
    if target.span.count == 0 {
        return no_backend(key);
    }
    let index = target.span.slot(bits(&entropy));
    let Some(Backend6 { address, port, .. }) = slot(&BACKENDS6, index) else { return bad_record() };
    if target.affinity_s == 0 {
        return Choice::Backend(Chosen { address, port });
    }
    let (address, port) = affinity::hold(hook, key, target.affinity_s, address, port);
    Choice::Backend(Chosen { address, port })
}

#[inline(always)]
fn no_backend<A>(frontend: Frontend6) -> Choice<A> {
    drops::count(Reason::NoBackend);
    measure::refused(frontend);
    Choice::Refuse
}

fn bad_record<A>() -> Choice<A> {
    drops::count(Reason::BadRecord);
    Choice::Refuse
}

#[inline(always)]
fn slot<T: Copy>(slots: &Array<T>, index: u32) -> Option<T> {
    slots.get(index).copied()
}

#[inline(always)]
fn bits(entropy: &Entropy) -> u32 {
    match entropy {
        // SAFETY: takes no pointer.
        Entropy::Random => unsafe { bpf_get_prandom_u32() as u32 },
        Entropy::Flow(bits) => *bits,
    }
}
