//! Services asked for from outside: node ports, external addresses, load balancers' addresses.
//!
//! Their backends are kept apart from those of the same Services inside: `externalTrafficPolicy` has a say here.

use keelson_ebpf_common::{drop::Reason, key::Frontend6, maglev, packet::Tuple};

use crate::{
    affinity::{self, random},
    drops,
    outside::{self, in_ranges},
};

/// What the tables say about a destination.
pub enum Choice {
    /// Nothing that is reached from outside.
    NotService,
    /// A Service without backends.
    Refuse,
    /// Not for this client, or not here: counted already.
    Drop,
    /// Where the flow's destination was made to be.
    Backend,
}

/// Looks up where a new flow from outside goes, and writes it into what the flow becomes.
#[inline(never)]
pub fn choose(tuple: &Tuple, to: &mut Tuple) -> Choice {
    let frontend = Frontend6 {
        address: tuple.destination,
        port: tuple.destination_port,
        protocol: tuple.protocol,
        pad: 0,
    };
    let Some(external) = outside::external(&frontend) else { return Choice::NotService };
    let Some(target) = outside::target(external) else { return refused(Reason::BadRecord) };
    if target.ranged && !in_ranges(external.number + 1, tuple.source) {
        return refused(Reason::SourceRange);
    }
    if target.count == 0 {
        return if target.local_only { refused(Reason::NoLocalBackend) } else { Choice::Refuse };
    }
    if target.affine {
        let held = affinity::hold_external(tuple, external.number, target.first, target.count, to);
        return if held { Choice::Backend } else { refused(Reason::BadRecord) };
    }
    let chosen = match outside::spread(&target, maglev::hash(tuple)) {
        Some(backend) => backend,
        None => {
            let slot = target.first + (u64::from(random()) * u64::from(target.count) >> 32) as u32;
            let Some(backend) = outside::backend(slot) else { return refused(Reason::BadRecord) };
            backend
        }
    };
    (to.destination, to.destination_port) = (chosen.address, chosen.port);
    Choice::Backend
}

/// Counted here: a reason that is handed on beside a verdict is half a register, which the verifier refuses to see moved.
#[inline(always)]
fn refused(reason: Reason) -> Choice {
    drops::count(reason);
    Choice::Drop
}
