//! What the pods of this node may do, as groups.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    sync::Arc,
};

use keelson_ebpf_common::policy::Id;

use super::{GroupState, Planner, Round};
use crate::policy::{
    index::{Dirty, Index},
    profiles::ProfileId,
    types::{Allows, Group, Peer, PeerId, PeerKind, Policy, Ports, Profile, Rule},
};

/// What policies let a direction do, before its peers have numbers; by the peers' words.
type Draft = BTreeSet<(Box<str>, Ports)>;

impl Planner {
    /// Gives profiles of this node's pods their groups.
    pub(super) fn regroup(&mut self, index: &Index, dirty: &Dirty, round: &mut Round) {
        let namespaces = dirty.policies.iter().filter_map(|name| index.namespaces.get(name));
        let touched: BTreeSet<ProfileId> =
            namespaces.flat_map(|known| &known.profiles).chain(&dirty.profiles).copied().collect();
        for id in touched {
            let profile = index.profiles.get(id).filter(|shared| shared.local > 0).map(|s| &*s.profile);
            let wanted = profile.and_then(|profile| self.group_for(index, profile, round));
            let before = match wanted {
                Some(group) => self.group_of.insert(id, group),
                None => self.group_of.remove(&id),
            };
            for (group, more) in
                wanted.map(|group| (group, true)).into_iter().chain(before.map(|g| (g, false)))
            {
                if let Some(state) = self.groups.get_mut(group) {
                    state.users = if more { state.users + 1 } else { state.users - 1 };
                    state.retired &= state.users == 0;
                }
            }
            if before != wanted {
                round.regrouped.insert(id);
            }
        }
    }

    /// The group of pods like this, made if there is none; `None` when no policy selects them.
    fn group_for(&mut self, index: &Index, profile: &Profile, round: &mut Round) -> Option<Id> {
        let policies = index.namespaces.get(&profile.namespace)?.policies.values();
        let applying: Vec<&Policy> =
            policies.filter(|policy| policy.selector.matches(&profile.labels)).collect();
        if applying.is_empty() {
            return None;
        }
        let rules = |of: fn(&Policy) -> Option<&Vec<Rule>>| {
            let mut isolating = applying.iter().filter_map(|policy| of(policy)).peekable();
            isolating.peek().is_some().then(|| isolating.flatten().collect::<Vec<_>>())
        };
        let ingress = rules(|policy| policy.ingress.as_ref());
        let egress = rules(|policy| policy.egress.as_ref());
        let drafts = [
            ingress.as_ref().map(|rules| draft(rules, Some(profile))),
            egress.as_ref().map(|rules| draft(rules, None)),
        ];
        let text = words(&drafts);
        let (id, known) = self.groups.find(text.as_bytes());
        if !known {
            let peers: Vec<&Arc<Peer>> =
                ingress.iter().chain(&egress).flatten().flat_map(|r| r.peers.iter().flatten()).collect();
            let [ingress, egress] =
                drafts.map(|draft| draft.map(|draft| self.number(&draft, &peers, index, round)));
            for (peer, name) in named(egress.as_ref()) {
                round.names_changed |= count_in(&mut self.names, name);
                if let Some(peer) = peer {
                    round.names_changed |= count_in(&mut self.named_blocks, peer);
                }
            }
            let state = GroupState { group: Group { ingress, egress }, users: 0, retired: false };
            self.groups.insert(id, text.as_bytes(), state);
            round.new_groups.push(id);
        }
        Some(id)
    }

    fn number(&mut self, draft: &Draft, peers: &[&Arc<Peer>], index: &Index, round: &mut Round) -> Allows {
        let mut allows = Allows::new();
        for (text, ports) in draft {
            let Some(peer) = peers.iter().find(|peer| peer.text == *text) else {
                allows.insert((None, ports.clone()));
                continue;
            };
            let (id, new) = self.peers.acquire(peer);
            if new {
                round.blocks_changed |= matches!(peer.kind, PeerKind::Block { .. });
                let reached = self.peers.spread(id, &index.namespaces);
                round.rematched.extend(profiles_matching(self, id, &reached, index));
            }
            allows.insert((Some(id), ports.clone()));
        }
        allows
    }

    /// Forgets groups that the kernel knows no pod of, and the peers that only they named.
    pub(super) fn drop_retired(&mut self, index: &Index, round: &mut Round) {
        let retired: Vec<_> = self.groups.iter().filter(|(_, g)| g.retired).map(|(id, _)| id).collect();
        for id in retired {
            let Some(GroupState { group, .. }) = self.groups.remove(id) else { continue };
            self.drop_cells_of_group(id, round);
            for (peer, name) in named(group.egress.as_ref()) {
                round.names_changed |= count_out(&mut self.names, &name);
                if let Some(peer) = peer {
                    round.names_changed |= count_out(&mut self.named_blocks, &peer);
                }
            }
            let allows = group.ingress.iter().chain(&group.egress).flatten();
            for peer in allows.filter_map(|(peer, _)| *peer) {
                let Some(gone) = self.peers.release(peer) else { continue };
                round.blocks_changed |= matches!(gone.kind, PeerKind::Block { .. });
                let reached = self.peers.withdraw(peer);
                let profiles =
                    reached.iter().filter_map(|name| index.namespaces.get(name)).flat_map(|n| &n.profiles);
                let had = profiles.filter(|id| self.matched.get(id).is_some_and(|m| m.contains(&peer)));
                round.rematched.extend(had);
            }
        }
    }
}

fn profiles_matching(planner: &Planner, id: u32, reached: &[Box<str>], index: &Index) -> Vec<ProfileId> {
    let profiles = reached.iter().filter_map(|name| index.namespaces.get(name)).flat_map(|n| &n.profiles);
    let matching = profiles.filter(|profile| {
        index.profiles.get(**profile).is_some_and(|shared| planner.peers.matches(id, &shared.profile))
    });
    matching.copied().collect()
}

/// Everything that these rules allow. Names of ports are those of the pod itself, if it is the one that is reached.
fn draft(rules: &[&Rule], receiver: Option<&Profile>) -> Draft {
    let mut draft = Draft::new();
    for rule in rules {
        let ports: Vec<Ports> = rule.ports.iter().flat_map(|ports| resolve(ports, receiver)).collect();
        let texts: Vec<Box<str>> = match &rule.peers {
            None => vec![Box::default()],
            Some(peers) => peers.iter().map(|peer| peer.text.clone()).collect(),
        };
        for text in texts {
            draft.extend(ports.iter().map(|ports| (text.clone(), ports.clone())));
        }
    }
    draft
}

fn resolve(ports: &Ports, receiver: Option<&Profile>) -> Vec<Ports> {
    let (Ports::Named { protocol, name }, Some(receiver)) = (ports, receiver) else {
        return vec![ports.clone()];
    };
    let own = receiver.ports.iter().filter(|port| (port.protocol, &port.name) == (*protocol, name));
    own.map(|port| Ports::Range { protocol: *protocol, first: port.number, last: port.number }).collect()
}

/// What tells a group from every other.
fn words(drafts: &[Option<Draft>; 2]) -> String {
    let mut text = String::new();
    for (direction, draft) in ["in", "out"].iter().zip(drafts) {
        let Some(draft) = draft else { continue };
        let _ = writeln!(text, "{direction}");
        for (peer, ports) in draft {
            let _ = writeln!(text, "{ports} {peer}");
        }
    }
    text
}

/// Protocol and name.
type PortName = (u8, Box<str>);

/// Ports that are asked for by name, and with whom.
fn named(allows: Option<&Allows>) -> Vec<(Option<PeerId>, PortName)> {
    let named = allows.into_iter().flatten().filter_map(|(peer, ports)| match ports {
        Ports::Named { protocol, name } => Some((*peer, (*protocol, name.clone()))),
        Ports::All | Ports::Range { .. } => None,
    });
    named.collect()
}

/// Whether it is the first.
fn count_in<K: Ord>(users: &mut BTreeMap<K, usize>, key: K) -> bool {
    let count = users.entry(key).or_default();
    *count += 1;
    *count == 1
}

/// Whether it was the last.
fn count_out<K: Ord>(users: &mut BTreeMap<K, usize>, key: &K) -> bool {
    let Some(count) = users.get_mut(key) else { return false };
    *count -= 1;
    let last = *count == 0;
    if last {
        users.remove(key);
    }
    last
}
