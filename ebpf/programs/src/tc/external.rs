//! Services asked for from outside: node ports, external addresses, load balancers' addresses.
//!
//! Their backends are kept apart from those of the same Services inside: `externalTrafficPolicy` has a say here.

use keelson_ebpf_common::{drop::Reason, key::Frontend6, maglev, packet::Tuple};

use crate::{
    maps,
    outside::{self, in_ranges},
    service::{Backend, hold, random},
    state::{EXTERNAL_AFFINITY, EXTERNAL_MEMBERS, EXTERNALS},
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
    let Some(target) = outside::target(external) else { return refused(Reason::BadRecord) };
    if target.ranged && !in_ranges(external.number + 1, tuple.source) {
        return refused(Reason::SourceRange);
    }
    if target.count == 0 {
        return if target.local_only { refused(Reason::NoLocalBackend) } else { Choice::Refuse };
    }
    let chosen = match outside::spread(&target, maglev::hash(tuple)) {
        Some(backend) if !target.affine => backend,
        _ => {
            let slot = target.first + (u64::from(random()) * u64::from(target.count) >> 32) as u32;
            let Some(backend) = outside::backend(slot) else { return refused(Reason::BadRecord) };
            backend
        }
    };
    let chosen = Backend { address: chosen.address, port: chosen.port };
    if !target.affine {
        return Choice::Backend(chosen);
    }
    let affinity_s = EXTERNAL_AFFINITY.get(external.number).copied().unwrap_or(0);
    Choice::Backend(hold(&EXTERNAL_MEMBERS, &tuple.source, &frontend, affinity_s, chosen))
}

/// Counted here: a reason that is handed on beside a verdict is half a register, which the verifier refuses to see moved.
#[inline(always)]
fn refused(reason: Reason) -> Choice {
    maps::count(reason);
    Choice::Drop
}
