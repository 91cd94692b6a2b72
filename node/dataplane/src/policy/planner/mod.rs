//! From what changed to what the maps are to hold. Pure; touches only what a change reaches.
//!
//! ```text
//!  policies ─▶ groups ─▶ peers ─▶ profiles ─▶ classes of addresses ─▶ entries of (group, class)
//! ```
//! Groups that nobody has any more stay until the change by which their pods went over was confirmed ([`Planner::confirm`]): else
//! the classes would forget the difference that they make while packets are still judged by them. So after each
//! confirmed change there may be another, until there is none.
//!
//! What does not fit the maps is left out: entries only ever let pass, so what is missing is stopped. A block of addresses is
//! left out whole.

mod blocks;
mod cells;
mod groups;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    net::IpAddr,
};

use keelson_ebpf_common::{
    limits,
    policy::{Classes, Id},
};

use super::{
    ids::Numbered,
    index::{Dirty, Index},
    peers::Peers,
    profiles::ProfileId,
    types::{Changes, Class, EndpointPolicy, Group, PeerId, PodKey, PodPolicy, Prefix, Verdict},
};

/// How much there is room for. Half of each map: in a change the new comes before the old goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) verdicts: usize,
    pub(super) prefixes: usize,
    /// Of those, for blocks.
    pub(super) block_prefixes: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            verdicts: limits::ALLOWED_MAX as usize / 2,
            prefixes: limits::PEERS_MAX as usize / 2,
            block_prefixes: limits::PEERS_MAX as usize / 8,
        }
    }
}

/// What there was no room for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Shortage {
    /// Some of what policies allow a pod (with its uid) is not let pass.
    Verdicts(PodKey, Box<str>),
    /// So many addresses of pods are taken for nobody's.
    Addresses(usize),
    /// So many blocks of addresses are taken for nobody's.
    Blocks(usize),
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verdicts((namespace, name), _) => write!(
                f,
                "network policies allow pod {namespace}/{name} more than there is room for on its node \
                 ({} entries): some of it is dropped",
                limits::ALLOWED_MAX / 2
            ),
            Self::Addresses(count) => write!(
                f,
                "{count} addresses of pods belong to peers of network policies and have no room ({} addresses): \
                 what policies allow them is dropped",
                limits::PEERS_MAX / 2
            ),
            Self::Blocks(count) => write!(
                f,
                "{count} address blocks of network policies have no room ({} prefixes): \
                 what policies allow them is dropped",
                limits::PEERS_MAX / 8
            ),
        }
    }
}

#[derive(Debug)]
struct GroupState {
    group: Group,
    /// Profiles that have it.
    users: usize,
    /// Its pods went over to another, and the kernel knows.
    retired: bool,
}

#[derive(Debug)]
struct ClassState {
    class: Class,
    /// Prefixes that have it.
    users: usize,
}

/// What the maps are to hold, and how that follows.
#[derive(Debug, Default)]
pub(crate) struct Planner {
    room: Room,
    peers: Peers,
    /// Ports that rules for what goes out ask for by name (protocol, name), with how many rules do.
    names: BTreeMap<(u8, Box<str>), usize>,
    /// Blocks of such rules, as above.
    named_blocks: BTreeMap<PeerId, usize>,
    groups: Numbered<GroupState>,
    group_of: HashMap<ProfileId, Id>,
    /// The peers that profiles belong to, where there is any; sorted.
    matched: HashMap<ProfileId, Box<[PeerId]>>,
    classes: Numbered<ClassState>,
    class_ids: HashMap<Class, Id>,
    block_prefixes: BTreeSet<Prefix>,
    prefixes: BTreeMap<Prefix, Classes>,
    verdicts: BTreeSet<Verdict>,
    endpoints: BTreeMap<PodKey, PodPolicy>,
    without_room: WithoutRoom,
}

/// What is left out.
#[derive(Debug, Default)]
struct WithoutRoom {
    cells: BTreeSet<(Id, Id)>,
    addresses: BTreeSet<IpAddr>,
    blocks: BTreeSet<PeerId>,
}

/// One round of planning.
#[derive(Debug, Default)]
struct Round {
    changes: Changes,
    /// Profiles whose pods may belong to other peers, or have other groups.
    rematched: BTreeSet<ProfileId>,
    regrouped: BTreeSet<ProfileId>,
    /// Where the class may be another.
    prefixes: BTreeSet<Prefix>,
    new_groups: Vec<Id>,
    new_classes: Vec<Id>,
    /// Classes and groups that may have lost their last user.
    idle_classes: BTreeSet<Id>,
    blocks_changed: bool,
    names_changed: bool,
}

impl Planner {
    #[cfg(test)]
    pub(super) fn of_room(room: Room) -> Self {
        Self { room, ..Self::default() }
    }

    /// The next step. Empty when the maps are as they should be.
    pub(crate) fn plan(&mut self, index: &mut Index) -> Changes {
        let dirty = index.take_dirty();
        let mut round = Round::default();
        self.look_at_namespaces(index, &dirty, &mut round);
        self.regroup(index, &dirty, &mut round);
        self.drop_retired(index, &mut round);
        self.rematch(index, &dirty, &mut round);
        if round.blocks_changed {
            self.replan_blocks(index, &mut round);
        }
        round.prefixes.extend(dirty.addresses.iter().copied().map(Prefix::of));
        if self.prefixes.len() < self.room.prefixes {
            round.prefixes.extend(self.without_room.addresses.iter().copied().map(Prefix::of));
        }
        self.reclassify(index, &mut round);
        self.fill_cells(&mut round);
        self.replan_endpoints(index, &dirty, &mut round);
        round.finish()
    }

    /// The kernel is as the last change has it. Whether there is something to tidy up now: plan again.
    pub(crate) fn confirm(&mut self) -> bool {
        let idle: Vec<Id> = self.groups.iter().filter(|(_, g)| g.users == 0).map(|(id, _)| id).collect();
        for id in &idle {
            if let Some(state) = self.groups.get_mut(*id) {
                state.retired = true;
            }
        }
        !idle.is_empty()
    }

    /// Everything that the maps are to hold, for whoever does not know what they do.
    pub(crate) fn whole(&self) -> Changes {
        Changes {
            verdicts: self.verdicts.iter().copied().collect(),
            peers: self.prefixes.iter().map(|(prefix, class)| (*prefix, *class)).collect(),
            endpoints: self.endpoints.iter().map(|(key, known)| (key.clone(), Some(known.clone()))).collect(),
            ..Changes::default()
        }
    }

    /// What there is no room for.
    pub(crate) fn shortages(&self, index: &Index) -> Vec<Shortage> {
        let lacking: BTreeSet<Id> = self.without_room.cells.iter().map(|(group, _)| *group).collect();
        let pods = self.endpoints.iter().filter(|(_, (_, policy))| match policy {
            EndpointPolicy::Policed { group, .. } => lacking.contains(group),
            EndpointPolicy::Open => false,
        });
        let mut shortages: Vec<_> =
            pods.map(|(key, (uid, _))| Shortage::Verdicts(key.clone(), uid.clone())).collect();
        let addresses =
            self.without_room.addresses.iter().filter(|address| index.holder(**address).is_some()).count();
        shortages.extend((addresses > 0).then_some(Shortage::Addresses(addresses)));
        let blocks = self.without_room.blocks.len();
        shortages.extend((blocks > 0).then_some(Shortage::Blocks(blocks)));
        shortages
    }

    /// Of groups, peers, classes, addresses with a class, entries.
    pub(crate) fn sizes(&self) -> [usize; 5] {
        [self.groups.len(), self.peers.len(), self.classes.len(), self.prefixes.len(), self.verdicts.len()]
    }

    fn look_at_namespaces(&mut self, index: &Index, dirty: &Dirty, round: &mut Round) {
        for name in &dirty.namespaces {
            let namespace = index.namespaces.get(name);
            if self.peers.look_at(name, namespace) {
                round.rematched.extend(namespace.into_iter().flat_map(|known| &known.profiles));
            }
        }
    }

    /// Which peers the pods of a profile belong to.
    fn rematch(&mut self, index: &Index, dirty: &Dirty, round: &mut Round) {
        if round.names_changed {
            let all = index.namespaces.values().flat_map(|namespace| &namespace.profiles);
            round.rematched.extend(all);
        }
        for id in round.rematched.union(&dirty.profiles) {
            let Some(shared) = index.profiles.get(*id) else {
                self.matched.remove(id);
                continue;
            };
            let matched = self.peers.matching(&shared.profile);
            let before = match matched.is_empty() {
                true => self.matched.remove(id),
                false => self.matched.insert(*id, matched.clone()),
            };
            if before.unwrap_or_default() != matched || round.names_changed {
                let addresses = shared.pods.iter().filter_map(|pod| index.pod(*pod));
                round.prefixes.extend(addresses.flat_map(|pod| &pod.addresses).copied().map(Prefix::of));
            }
        }
    }

    fn replan_endpoints(&mut self, index: &Index, dirty: &Dirty, round: &mut Round) {
        let regrouped = round.regrouped.iter().filter_map(|id| index.profiles.get(*id));
        let regrouped = regrouped.flat_map(|shared| &shared.pods).filter_map(|pod| index.pod(*pod));
        let regrouped: BTreeSet<PodKey> = regrouped.map(|pod| pod.key.clone()).collect();
        for key in regrouped.union(&dirty.pods) {
            let wanted = index.pod_named(key).filter(|pod| pod.local).map(|pod| {
                let group = self.group_of.get(&pod.profile);
                let group = group.and_then(|id| Some((*id, &self.groups.get(*id)?.group)));
                let policy = group.map_or(EndpointPolicy::Open, |(id, group)| EndpointPolicy::Policed {
                    group: id,
                    ingress: group.ingress.is_some(),
                    egress: group.egress.is_some(),
                });
                (pod.uid.clone(), policy)
            });
            let before = match &wanted {
                Some(wanted) => self.endpoints.insert(key.clone(), wanted.clone()),
                None => self.endpoints.remove(key),
            };
            if before != wanted {
                round.changes.endpoints.push((key.clone(), wanted));
            }
        }
    }
}

impl Round {
    fn finish(self) -> Changes {
        let mut changes = self.changes;
        changes.peers.sort_unstable_by_key(|(prefix, _)| *prefix);
        changes.peers_gone.sort_unstable_by_key(|prefix| std::cmp::Reverse(*prefix));
        changes
    }
}
