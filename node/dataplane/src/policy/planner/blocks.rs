//! Addresses and their classes: of pods, and of the blocks that policies name.

use std::collections::BTreeSet;

use ipnet::IpNet;
use keelson_ebpf_common::policy::{Classes, Id};

use super::{ClassState, Planner, Round};
use crate::policy::{
    index::Index,
    types::{Class, NamedPort, PeerId, PeerKind, Prefix},
};

impl Planner {
    /// Blocks came or went: what begins where, and the pods within.
    pub(super) fn replan_blocks(&mut self, index: &Index, round: &mut Round) {
        let mut prefixes = BTreeSet::new();
        let before = std::mem::take(&mut self.without_room.blocks);
        for (id, kind) in self.peers.blocks() {
            let PeerKind::Block { cidr, except } = kind else { continue };
            let own: Vec<Prefix> = std::iter::once(cidr).chain(except).copied().map(Prefix).collect();
            let more = own.iter().filter(|prefix| !prefixes.contains(*prefix)).count();
            if prefixes.len() + more > self.room.block_prefixes {
                self.without_room.blocks.insert(id);
            } else {
                prefixes.extend(own);
            }
        }
        let touched: BTreeSet<Prefix> = prefixes.union(&self.block_prefixes).copied().collect();
        // Pods in any of them: which block exactly came or went is not worth to be known.
        for Prefix(range) in &touched {
            round.prefixes.extend(index.addresses_in(range).map(Prefix::of));
        }
        if before != self.without_room.blocks {
            tracing::warn!(blocks = self.without_room.blocks.len(), "no room for blocks of addresses");
        }
        round.prefixes.extend(touched);
        self.block_prefixes = prefixes;
    }

    /// Gives ranges of addresses, and single ones, their classes.
    pub(super) fn reclassify(&mut self, index: &Index, round: &mut Round) {
        for prefix in std::mem::take(&mut round.prefixes) {
            let address = prefix.address();
            let wanted = self.class_at(index, prefix);
            let full = self.prefixes.len() >= self.room.prefixes && !self.prefixes.contains_key(&prefix);
            let left_out = wanted.is_some() && full && !self.block_prefixes.contains(&prefix);
            if let Some(address) = address {
                match left_out {
                    true => self.without_room.addresses.insert(address),
                    false => self.without_room.addresses.remove(&address),
                };
            }
            let wanted = wanted.filter(|_| !left_out).map(|(pods, blocks)| Classes {
                pods: self.join_class(pods, round),
                blocks: self.join_class(blocks, round),
            });
            let before = match wanted {
                Some(classes) => self.prefixes.insert(prefix, classes),
                None => self.prefixes.remove(&prefix),
            };
            for class in before.iter().flat_map(|before| [before.pods, before.blocks]) {
                if let Some(state) = self.classes.get_mut(class) {
                    state.users -= 1;
                    round.idle_classes.insert(class);
                }
            }
            match wanted {
                Some(classes) if before != wanted => round.changes.peers.push((prefix, classes)),
                None if before.is_some() => round.changes.peers_gone.push(prefix),
                _ => {}
            }
        }
    }

    /// What an entry at a prefix says, of pods and of blocks; `None` when there need not be any, as a wider one says the same.
    fn class_at(&self, index: &Index, prefix: Prefix) -> Option<(Class, Class)> {
        let holder = prefix.address().and_then(|address| index.holder(address));
        let matched =
            holder.and_then(|pod| self.matched.get(&pod.profile)).map_or(&[][..], |matched| matched);
        let ports = holder.and_then(|pod| index.profiles.get(pod.profile));
        let ports: Box<[NamedPort]> = ports.map_or_else(Box::default, |shared| {
            let asked = |port: &&NamedPort| self.names.contains_key(&(port.protocol, port.name.clone()));
            shared.profile.ports.iter().filter(asked).cloned().collect()
        });
        if matched.is_empty() && ports.is_empty() && !self.block_prefixes.contains(&prefix) {
            return None;
        }
        let blocks: Box<[PeerId]> = self.blocks_with(prefix.0).collect();
        let named = |id: &&PeerId| !ports.is_empty() && self.named_blocks.contains_key(*id);
        let mut peers: Vec<PeerId> = matched.iter().chain(blocks.iter().filter(named)).copied().collect();
        peers.sort_unstable();
        Some((Class { peers: peers.into(), ports }, Class { peers: blocks, ports: Box::default() }))
    }

    fn blocks_with(&self, range: IpNet) -> impl Iterator<Item = PeerId> {
        let programmed = self.peers.blocks().filter(|(id, _)| !self.without_room.blocks.contains(id));
        let holding = programmed.filter(move |(_, kind)| match kind {
            PeerKind::Block { cidr, except } => {
                cidr.contains(&range) && !except.iter().any(|except| except.contains(&range))
            }
            PeerKind::Pods { .. } => false,
        });
        holding.map(|(id, _)| id)
    }

    /// The number of a class, which has one more user.
    fn join_class(&mut self, class: Class, round: &mut Round) -> Id {
        if class == Class::default() {
            return Id::NONE;
        }
        let known = self.class_ids.get(&class).copied();
        let id = known.unwrap_or_else(|| {
            let text = self.class_words(&class);
            let (id, known) = self.classes.find(text.as_bytes());
            debug_assert!(!known, "two classes of the same words");
            self.classes.insert(id, text.as_bytes(), ClassState { class: class.clone(), users: 0 });
            self.class_ids.insert(class, id);
            round.new_classes.push(id);
            id
        });
        if let Some(state) = self.classes.get_mut(id) {
            state.users += 1;
        }
        id
    }

    /// What tells a class from every other, in every daemon: numbers of peers are this one's.
    fn class_words(&self, class: &Class) -> String {
        let mut peers: Vec<&str> = class.peers.iter().map(|id| self.peers.text(*id)).collect();
        peers.sort_unstable();
        let ports = class.ports.iter().map(|port| format!("{}:{}={}", port.protocol, port.name, port.number));
        format!("{}\nports {}", peers.join("\n"), ports.collect::<Vec<_>>().join(","))
    }
}

impl Prefix {
    /// The address, if it is a single one.
    fn address(self) -> Option<std::net::IpAddr> {
        (self.0.prefix_len() == self.0.max_prefix_len()).then(|| self.0.addr())
    }
}
