//! Who depends on whom, as the watches tell it. Pure: three verbs that answer which objects have to be looked at.
//!
//! It holds only objects with owners and objects whose deletion waits for the collector, and of all others the uid: so
//! it is small, and "the owner is not known" is a reason to ask the server, never to delete.

use keelson_harness::{Meta, ObjectKey, OwnerReference, Resource};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// The finalizer of foreground deletion.
pub(super) const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of orphaning deletion.
pub(super) const ORPHAN: &str = "orphan";

pub(super) type Uid = Arc<str>;

/// An object that the collector has to know.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) resource: Arc<Resource>,
    pub(super) key: ObjectKey,
    pub(super) owners: Vec<OwnerReference>,
    pub(super) deleting: bool,
    pub(super) foreground: bool,
    pub(super) orphan: bool,
}

impl Node {
    fn new(resource: &Arc<Resource>, meta: &Meta) -> Self {
        Node {
            resource: resource.clone(),
            key: meta.key(),
            owners: meta.owner_references.clone(),
            deleting: meta.is_deleting(),
            foreground: meta.is_deleting() && meta.has_finalizer(FOREGROUND),
            orphan: meta.is_deleting() && meta.has_finalizer(ORPHAN),
        }
    }

    /// Does this object hold up the foreground deletion of `owner`?
    fn blocks(&self, owner: &str) -> bool {
        self.owners.iter().any(|o| &*o.uid == owner && o.block_owner_deletion)
    }
}

#[derive(Default)]
pub(super) struct Graph {
    nodes: HashMap<Uid, Node>,
    dependents: HashMap<Uid, HashSet<Uid>>,
    /// Every object seen, by the resource it was seen as.
    alive: HashMap<u128, u16>,
    resources: Vec<Arc<Resource>>,
}

/// A uid in 16 bytes. What is no UUID is folded; a clash could only make an absent owner look present, which is
/// corrected by the live read that every decision rests on.
fn compact(uid: &str) -> u128 {
    let hex = uid.bytes().filter(|b| *b != b'-');
    hex.fold(0, |acc: u128, b| match char::from(b).to_digit(16) {
        Some(digit) => acc.rotate_left(4) ^ u128::from(digit),
        None => acc.rotate_left(7) ^ u128::from(b),
    })
}

impl Graph {
    fn number(&mut self, resource: &Arc<Resource>) -> u16 {
        let at = self.resources.iter().position(|r| r == resource).unwrap_or_else(|| {
            self.resources.push(resource.clone());
            self.resources.len() - 1
        });
        u16::try_from(at).unwrap_or(u16::MAX)
    }

    /// An object as it is now.
    pub(super) fn apply(&mut self, resource: &Arc<Resource>, meta: &Meta) -> Vec<Uid> {
        let number = self.number(resource);
        self.alive.insert(compact(&meta.uid), number);
        let node = Node::new(resource, meta);
        let needed = !node.owners.is_empty() || node.foreground || node.orphan;
        let before = self.forget(&meta.uid);
        let mut look = Vec::new();
        // An owner in foreground deletion may have waited for a reference that is gone now.
        for owner in before.iter().flat_map(|b| &b.owners) {
            if self.nodes.get(&owner.uid).is_some_and(|o| o.foreground) && !node.blocks(&owner.uid) {
                look.push(owner.uid.clone());
            }
        }
        if !needed {
            return look;
        }
        let changed = before.is_none_or(|b| b.owners != node.owners || b.deleting != node.deleting);
        let suspicious =
            node.foreground || node.orphan || node.owners.iter().any(|o| self.is_doubtful(&o.uid));
        if changed && suspicious {
            look.push(meta.uid.clone());
        }
        for owner in &node.owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(meta.uid.clone());
        }
        self.nodes.insert(meta.uid.clone(), node);
        look
    }

    /// Not seen, or seen to wait for its dependents.
    fn is_doubtful(&self, owner: &str) -> bool {
        !self.alive.contains_key(&compact(owner)) || self.nodes.get(owner).is_some_and(|o| o.foreground)
    }

    /// Takes a node and its edges out; the uid stays alive.
    fn forget(&mut self, uid: &str) -> Option<Node> {
        let node = self.nodes.remove(uid)?;
        for owner in &node.owners {
            if let Some(dependents) = self.dependents.get_mut(&owner.uid) {
                dependents.remove(uid);
                if dependents.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
        Some(node)
    }

    /// An object that is gone. Its dependents have to be looked at, and owners that waited for it.
    pub(super) fn delete(&mut self, uid: &str) -> Vec<Uid> {
        self.alive.remove(&compact(uid));
        let mut look: Vec<Uid> = self.dependents.get(uid).into_iter().flatten().cloned().collect();
        if let Some(node) = self.forget(uid) {
            let waiting = |o: &&OwnerReference| self.nodes.get(&o.uid).is_some_and(|n| n.foreground);
            look.extend(node.owners.iter().filter(waiting).map(|o| o.uid.clone()));
        }
        look
    }

    /// Exactly these objects of a resource exist.
    pub(super) fn reset(&mut self, resource: &Arc<Resource>, present: &[Meta]) -> Vec<Uid> {
        let number = self.number(resource);
        let listed: HashSet<u128> = present.iter().map(|m| compact(&m.uid)).collect();
        self.alive.retain(|uid, of| *of != number || listed.contains(uid));
        let gone: Vec<Uid> = self
            .nodes
            .iter()
            .filter(|(uid, node)| node.resource == *resource && !listed.contains(&compact(uid)))
            .map(|(uid, _)| uid.clone())
            .collect();
        let mut look: Vec<Uid> = gone.iter().flat_map(|uid| self.delete(uid)).collect();
        look.extend(present.iter().flat_map(|meta| self.apply(resource, meta)));
        // Owners that went while nobody watched have left only their dependents' references.
        let orphaned = self.dependents.iter().filter(|(owner, _)| !self.alive.contains_key(&compact(owner)));
        look.extend(orphaned.flat_map(|(_, dependents)| dependents.iter().cloned()));
        look
    }

    /// All objects whose owner is not known, for the first look once everything is listed.
    pub(super) fn doubtful(&self) -> Vec<Uid> {
        let of = |node: &Node| {
            node.foreground || node.orphan || node.owners.iter().any(|o| self.is_doubtful(&o.uid))
        };
        self.nodes.iter().filter(|(_, n)| of(n)).map(|(uid, _)| uid.clone()).collect()
    }

    pub(super) fn get(&self, uid: &str) -> Option<Node> {
        self.nodes.get(uid).cloned()
    }

    /// All dependents of an object.
    pub(super) fn dependents(&self, uid: &str) -> Vec<(Uid, Node)> {
        let uids = self.dependents.get(uid).into_iter().flatten();
        uids.filter_map(|uid| Some((uid.clone(), self.nodes.get(uid)?.clone()))).collect()
    }

    /// Dependents that hold up the foreground deletion of an object.
    pub(super) fn blocking(&self, uid: &str) -> Vec<(Uid, Node)> {
        let mut dependents = self.dependents(uid);
        dependents.retain(|(_, node)| node.blocks(uid));
        dependents
    }
}
