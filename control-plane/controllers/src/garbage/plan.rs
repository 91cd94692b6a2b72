//! What becomes of an object, given what the server says of each of its owners. Pure.
//!
//! Rules: "Garbage Collection" and "Owners and Dependents" in the documentation. An object goes when none of its owners
//! is left. An owner that waits for its dependents (foreground) takes the object with it unless another owner stays.

use super::graph::{FOREGROUND, ORPHAN};
use keelson_harness::{Meta, OwnerReference, api::Propagation};

/// What a live read said of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// It exists, with the uid of the reference.
    Solid,
    /// It exists and waits for its dependents to go.
    Waiting,
    /// It does not exist, or another object has its name.
    Absent,
}

/// What the graph says of those that depend on the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dependents {
    /// There are none.
    None,
    /// There are some.
    Some,
    /// One of them waits for its own dependents to go, among which this object may be.
    Waiting,
}

/// The decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// An owner is there, and all others too.
    Keep,
    /// An owner is there; references to these uids go.
    DropReferences(Vec<OwnerReference>),
    /// No owner is left.
    Delete(Propagation),
    /// Everybody waits for somebody else, it seems: the owners wait no more for this object, which then goes as ever.
    /// What looks like a circle need not be one, as upstream's collector accepts too; an owner then goes a bit early.
    StopBlocking(Vec<OwnerReference>),
}

/// `live` is the object as just read; `owners` are in the order of its references. `dependents`: by the graph.
pub(super) fn verdict(live: &Meta, owners: &[Owner], dependents: Dependents) -> Verdict {
    let references = live.owner_references.iter().zip(owners);
    let not_solid: Vec<OwnerReference> =
        references.filter(|(_, o)| **o != Owner::Solid).map(|(r, _)| r.clone()).collect();
    if owners.is_empty() || not_solid.is_empty() {
        return Verdict::Keep;
    }
    if owners.contains(&Owner::Solid) {
        return Verdict::DropReferences(not_solid);
    }
    // The owner waits for this object, so this object waits for its own dependents.
    if owners.contains(&Owner::Waiting) && dependents != Dependents::None {
        if dependents == Dependents::Waiting && live.owner_references.iter().any(|o| o.block_owner_deletion) {
            let unblocked = |o: &OwnerReference| OwnerReference { block_owner_deletion: false, ..o.clone() };
            return Verdict::StopBlocking(live.owner_references.iter().map(unblocked).collect());
        }
        return Verdict::Delete(Propagation::Foreground);
    }
    Verdict::Delete(match () {
        () if live.has_finalizer(ORPHAN) => Propagation::Orphan,
        () if live.has_finalizer(FOREGROUND) => Propagation::Foreground,
        () => Propagation::Background,
    })
}
