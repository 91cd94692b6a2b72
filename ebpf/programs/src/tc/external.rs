//! Services asked for from outside: node ports, external addresses, load balancers' addresses.
//!
//! Their backends are kept apart from those of the same Services inside: `externalTrafficPolicy` has a say here.

use keelson_ebpf_common::{
    drop::Reason,
    key::Frontend6,
    packet::{ExternalTarget, Tuple},
};

use crate::{
    maps,
    service::{Backend, hold, random},
    state::{EXTERNAL_BACKENDS, EXTERNAL_MEMBERS, EXTERNAL_TARGETS, EXTERNALS, in_ranges},
};

/// What the tables say about a destination.
pub enum Choice {
    /// Nothing that is reached from outside.
    NotService,
    /// A Service without backends.
    Refuse,
    /// Not for this client, or not here: counted already.
    Drop,
    /// There.
    Backend(Backend),
}

/// Looks up where a new flow from outside goes.
#[inline(never)]
pub fn choose(tuple: &Tuple) -> Choice {
    let frontend = Frontend6 {
        address: tuple.destination,
        port: tuple.destination_port,
        protocol: tuple.protocol,
        pad: 0,
    };
    // SAFETY: the element never changes while it exists, and its memory is not given to another key before this program has
    // ended (the daemon waits for a grace period).
    let Some(external) = (unsafe { EXTERNALS.get(&frontend) }) else { return Choice::NotService };
    let number = external.number;
    let Some(target) = EXTERNAL_TARGETS.get_ptr(number) else { return refused(Reason::BadRecord) };
    // SAFETY: a pointer from the map; one load of an aligned word.
    let target = ExternalTarget::unpack(unsafe { target.read_volatile() });
    if target.ranged && !in_ranges(number + 1, tuple.source) {
        return refused(Reason::SourceRange);
    }
    if target.count == 0 {
        return if target.local_only { refused(Reason::NoLocalBackend) } else { Choice::Refuse };
    }
    let slot = target.first + (u64::from(random()) * u64::from(target.count) >> 32) as u32;
    let Some(slot) = EXTERNAL_BACKENDS.get(slot) else { return refused(Reason::BadRecord) };
    let chosen = Backend { address: slot.address, port: slot.port };
    if target.affinity_s == 0 {
        return Choice::Backend(chosen);
    }
    Choice::Backend(hold(&EXTERNAL_MEMBERS, &tuple.source, &frontend, target.affinity_s, chosen))
}

/// Counted here: a reason that is handed on beside a verdict is half a register, which the verifier refuses to see moved.
#[inline(always)]
fn refused(reason: Reason) -> Choice {
    maps::count(reason);
    Choice::Drop
}
