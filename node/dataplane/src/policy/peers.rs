//! The peers that some group of this node names, and which namespaces they reach.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    index::Namespace,
    types::{Namespaces, Peer, PeerId, PeerKind, Profile},
};

#[derive(Debug)]
struct Known {
    peer: Arc<Peer>,
    users: usize,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Peers {
    known: BTreeMap<PeerId, Known>,
    by_text: HashMap<Box<str>, PeerId>,
    next: PeerId,
    /// Peers that are pods, by the namespaces in which they may be.
    reach: BTreeMap<Box<str>, BTreeSet<PeerId>>,
    blocks: BTreeSet<PeerId>,
}

impl Peers {
    /// One more rule names it. Its number, and whether it is new; then [`Self::spread`] it.
    pub(super) fn acquire(&mut self, peer: &Arc<Peer>) -> (PeerId, bool) {
        if let Some(&id) = self.by_text.get(&peer.text) {
            if let Some(known) = self.known.get_mut(&id) {
                known.users += 1;
            }
            return (id, false);
        }
        let id = self.next;
        self.next += 1;
        self.known.insert(id, Known { peer: peer.clone(), users: 1 });
        self.by_text.insert(peer.text.clone(), id);
        if matches!(peer.kind, PeerKind::Block { .. }) {
            self.blocks.insert(id);
        }
        (id, true)
    }

    /// One rule less names it. The peer, if none does any more.
    pub(super) fn release(&mut self, id: PeerId) -> Option<Arc<Peer>> {
        let known = self.known.get_mut(&id)?;
        known.users -= 1;
        if known.users > 0 {
            return None;
        }
        let known = self.known.remove(&id)?;
        self.by_text.remove(&known.peer.text);
        self.blocks.remove(&id);
        Some(known.peer)
    }

    /// Has namespaces know of a new one. Those that it reaches.
    pub(super) fn spread(&mut self, id: PeerId, namespaces: &BTreeMap<Box<str>, Namespace>) -> Vec<Box<str>> {
        let Some(known) = self.known.get(&id) else { return Vec::new() };
        let PeerKind::Pods { namespaces: wanted, .. } = &known.peer.kind else { return Vec::new() };
        let reached: Vec<Box<str>> = match wanted {
            Namespaces::Named(name) => vec![name.clone()],
            Namespaces::Labelled(_) => {
                let those = namespaces.iter().filter(|(name, known)| reaches(wanted, name, known));
                those.map(|(name, _)| name.clone()).collect()
            }
        };
        for name in &reached {
            self.reach.entry(name.clone()).or_default().insert(id);
        }
        reached
    }

    /// Forgets where it was. Those that it had reached.
    pub(super) fn withdraw(&mut self, id: PeerId) -> Vec<Box<str>> {
        let mut reached = Vec::new();
        self.reach.retain(|name, peers| {
            if peers.remove(&id) {
                reached.push(name.clone());
            }
            !peers.is_empty()
        });
        reached
    }

    /// Looks again which of them reach a namespace; whether others do.
    pub(super) fn look_at(&mut self, name: &str, namespace: Option<&Namespace>) -> bool {
        let nobody = Namespace::default();
        let namespace = namespace.unwrap_or(&nobody);
        let reaching = self.known.iter().filter(|(_, known)| match &known.peer.kind {
            PeerKind::Pods { namespaces, .. } => reaches(namespaces, name, namespace),
            PeerKind::Block { .. } => false,
        });
        let reaching: BTreeSet<PeerId> = reaching.map(|(id, _)| *id).collect();
        let before = match reaching.is_empty() {
            true => self.reach.remove(name),
            false => self.reach.insert(name.into(), reaching.clone()),
        };
        before.unwrap_or_default() != reaching
    }

    /// Those that a profile's pods belong to, sorted.
    pub(super) fn matching(&self, profile: &Profile) -> Box<[PeerId]> {
        let reaching = self.reach.get(&profile.namespace).into_iter().flatten();
        reaching.copied().filter(|id| self.matches(*id, profile)).collect()
    }

    /// Whether the pods of a profile belong to one, whose namespaces theirs is of.
    pub(super) fn matches(&self, id: PeerId, profile: &Profile) -> bool {
        self.known.get(&id).is_some_and(|known| match &known.peer.kind {
            PeerKind::Pods { pods, .. } => pods.matches(&profile.labels),
            PeerKind::Block { .. } => false,
        })
    }

    /// Those that are blocks.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (PeerId, &PeerKind)> {
        self.blocks.iter().filter_map(|id| Some((*id, &self.known.get(id)?.peer.kind)))
    }

    /// In words.
    pub(super) fn text(&self, id: PeerId) -> &str {
        self.known.get(&id).map_or("", |known| &known.peer.text)
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}

/// A namespace of which no object is known belongs to none by its labels, not even by their absence.
pub(super) fn reaches(wanted: &Namespaces, name: &str, namespace: &Namespace) -> bool {
    match wanted {
        Namespaces::Named(wanted) => **wanted == *name,
        Namespaces::Labelled(selector) => {
            namespace.labels.as_ref().is_some_and(|labels| selector.matches(labels))
        }
    }
}
