//! A model of the kernel that takes steps one by one, while readers run at every point between them.

use std::collections::{BTreeMap, BTreeSet};

use keelson_ebpf_common::{key::Frontend4, value::Span};

use super::SMALL;
use crate::{
    encode::{KernelKey, frontend_key},
    ledger::{Found, FoundAll, Leads, Member, Round, Steps, family_of},
    plan::{Backend, Family, Frontend, FrontendKey},
};

/// The maps, and program runs that have read up to some point.
#[derive(Clone, Debug, Default)]
pub(super) struct Kernel {
    lines: BTreeMap<u32, Content>,
    reaches: BTreeMap<u32, u8>,
    frontends: BTreeMap<FrontendKey, u32>,
    records: BTreeMap<u32, (Span, u32)>,
    slots: BTreeMap<(Family, u32), Backend>,
    pub(super) members: BTreeSet<Member>,
    readers: Vec<Reader>,
    /// Lookups on their way: key, next distance from its own line, and the reach that was read there.
    lookups: BTreeSet<(FrontendKey, u32, u32)>,
    /// Waits that are going on, by their numbers.
    waits: BTreeMap<u64, Wait>,
    /// What each frontend was allowed to lead to since the oldest reader started.
    allowed: BTreeMap<FrontendKey, BTreeSet<Backend>>,
    /// Frontends that are there before and after the change.
    lasting: BTreeSet<FrontendKey>,
}

/// A wait for all program runs that were going on when it began.
#[derive(Clone, Debug, Default)]
struct Wait {
    /// How many of the readers these are; they come first.
    readers: usize,
    /// Lookups that have started since.
    since: BTreeSet<(FrontendKey, u32, u32)>,
}

#[derive(Clone, Debug)]
struct Content {
    key: FrontendKey,
    leads: Leads,
    published: bool,
}

#[derive(Clone, Debug)]
struct Reader {
    key: FrontendKey,
    at: At,
}

/// What a reader will read next.
#[derive(Clone, Copy, Debug)]
enum At {
    Line(u32),
    Record(u32),
    Slots(Span),
}

impl Kernel {
    /// As a program looks up: from the key's own line as far as its reach says, or in the hash.
    fn find(&self, key: FrontendKey) -> Option<At> {
        if key.address.is_ipv6() {
            return self.frontends.get(&key).map(|&record| At::Record(record));
        }
        (0..=self.reach(key)).find_map(|distance| self.at(key, distance))
    }

    fn place(key: FrontendKey, distance: u32) -> u32 {
        let KernelKey::V4(key) = frontend_key(&key) else { panic!("of IPv4") };
        let (shard, home) = Frontend4::home(key.word(), SMALL.shards4_log2, SMALL.shard_lines);
        shard * SMALL.shard_lines + (home + distance) % SMALL.shard_lines
    }

    fn reach(&self, key: FrontendKey) -> u32 {
        self.reaches.get(&Self::place(key, 0)).copied().unwrap_or_default().into()
    }

    fn at(&self, key: FrontendKey, distance: u32) -> Option<At> {
        let place = Self::place(key, distance);
        let line = self.lines.get(&place)?;
        (line.published && line.key == key).then_some(At::Line(place))
    }

    /// Lets every lookup go on to its end, which must find something, and starts some that stop half-way: after any number
    /// of lines that are not the key's.
    fn look_up(&mut self) {
        let arrived = self.lookups.iter().filter_map(|&(key, next, reach)| {
            let at = (next..=reach).find_map(|distance| self.at(key, distance));
            assert!(at.is_some(), "a lookup of {key} finds nothing from {next} to {reach}");
            Some(Reader { key, at: at? })
        });
        let arrived: Vec<_> = arrived.collect();
        self.readers.extend(arrived);
        for &key in self.lasting.iter().filter(|key| key.address.is_ipv4()) {
            let reach = self.reach(key);
            let passed = (0..=reach).take_while(|&distance| self.at(key, distance).is_none());
            let started: Vec<_> = passed.map(|distance| (key, distance + 1, reach)).collect();
            self.waits.values_mut().for_each(|wait| wait.since.extend(&started));
            self.lookups.extend(started);
        }
    }

    /// One step of a reader, and all that it may choose among in the end.
    fn leads(&self, key: FrontendKey, at: At) -> Vec<Option<Backend>> {
        let span = match at {
            At::Line(place) => match &self.lines[&place].leads {
                Leads::Here(backends) => return backends.iter().copied().map(Some).collect(),
                Leads::Slots { span, .. } => *span,
            },
            At::Record(record) => self.records.get(&record).copied().unwrap_or_default().0,
            At::Slots(span) => span,
        };
        let slot = |index| self.slots.get(&(family_of(&key), index)).copied();
        (span.first..span.first + span.count).map(slot).collect()
    }

    /// Starts readers at every frontend, of which some have read their line or record already: whatever such a reader
    /// finds, now or later, must be a backend that its frontend had or is about to have.
    fn observe(&mut self) {
        for reader in &self.readers {
            for backend in self.leads(reader.key, reader.at) {
                let allowed = &self.allowed[&reader.key];
                assert!(
                    backend.is_some_and(|b| allowed.contains(&b)),
                    "{reader:?} finds {backend:?}, allowed {allowed:?}"
                );
            }
        }
        for &key in &self.lasting {
            assert!(self.find(key).is_some(), "{key} is never missing");
        }
        self.look_up();
        for key in self.allowed.keys().copied().collect::<Vec<_>>() {
            let Some(at) = self.find(key) else { continue };
            self.readers.push(Reader { key, at });
            let span = match at {
                At::Line(place) => match self.lines[&place].leads {
                    Leads::Slots { span, .. } => span,
                    Leads::Here(_) => continue,
                },
                At::Record(record) => self.records[&record].0,
                At::Slots(span) => span,
            };
            self.readers.push(Reader { key, at: At::Slots(span) });
        }
    }

    pub(super) fn grace(&mut self, wanted: &BTreeMap<FrontendKey, Frontend>) {
        self.observe();
        self.readers.clear();
        self.lookups.clear();
        // Waits that began before have nobody left to wait for.
        self.waits.values_mut().for_each(|wait| *wait = Wait::default());
        self.allowed.clear();
        self.allow_present();
        self.allow(wanted);
    }

    /// Somebody begins to wait for all that run now.
    pub(super) fn begin_wait(&mut self, number: u64) {
        self.observe();
        self.waits.insert(number, Wait { readers: self.readers.len(), since: BTreeSet::new() });
    }

    /// They have ended; of several waits the one that began first. Those that started since go on.
    pub(super) fn end_wait(&mut self, number: u64) {
        self.observe();
        let Wait { readers, since } = self.waits.remove(&number).unwrap();
        self.readers.drain(..readers);
        self.waits.values_mut().for_each(|wait| wait.readers -= readers);
        self.lookups = since;
    }

    fn allow(&mut self, wanted: &BTreeMap<FrontendKey, Frontend>) {
        for (key, frontend) in wanted {
            self.allowed.entry(*key).or_default().extend(&frontend.backends);
        }
    }

    fn allow_present(&mut self) {
        for (key, at) in self.present() {
            let present: Vec<_> = self.leads(key, at).into_iter().flatten().collect();
            self.allowed.entry(key).or_default().extend(present);
        }
    }

    /// Every frontend that is there, a changing one twice.
    fn present(&self) -> Vec<(FrontendKey, At)> {
        let lines = self.lines.iter().filter(|(_, line)| line.published);
        let lines = lines.map(|(&place, line)| (line.key, At::Line(place)));
        let records = self.frontends.iter().map(|(&key, &record)| (key, At::Record(record)));
        lines.chain(records).collect()
    }

    /// Takes the steps, or as many as `limit` says: then the daemon is dead.
    pub(super) fn take(&mut self, steps: &Steps, wanted: &BTreeMap<FrontendKey, Frontend>, limit: usize) {
        self.allow(wanted);
        let before: BTreeSet<_> = self.present().into_iter().map(|(key, _)| key).collect();
        self.lasting = before.into_iter().filter(|key| wanted.contains_key(key)).collect();
        let lasting = &self.lasting;
        self.lookups.retain(|(key, ..)| lasting.contains(key));
        let waits = self.waits.values_mut();
        waits.for_each(|wait| wait.since.retain(|(key, ..)| lasting.contains(key)));
        let mut left = limit;
        for (i, round) in steps.rounds.iter().enumerate() {
            if i > 0 {
                self.grace(wanted);
            }
            for effect in effects(round) {
                if left == 0 {
                    return;
                }
                left -= 1;
                effect(self);
                self.observe();
            }
        }
    }

    pub(super) fn read_back(&self) -> FoundAll {
        FoundAll {
            frontends: self.present().into_iter().map(|(key, at)| self.found(key, at)).collect(),
            reaches: self.reaches.iter().map(|(&place, &reach)| (place, reach)).collect(),
            members: self.members.clone(),
        }
    }

    fn found(&self, key: FrontendKey, at: At) -> Found {
        let backends = self.leads(key, at).into_iter().flatten().collect();
        let (service, span, affinity_s) = match at {
            At::Line(place) => match self.lines[&place].leads {
                Leads::Slots { span, affinity_s } => (place, span, affinity_s),
                Leads::Here(_) => (place, Span::default(), 0),
            },
            At::Record(record) => (record, self.records[&record].0, self.records[&record].1),
            At::Slots(_) => unreachable!("nothing is present by its slots"),
        };
        Found { key, service, span, affinity_s, backends }
    }

    /// What lookups that begin now find is what is wanted, whatever else goes out.
    pub(super) fn holds(&self, wanted: &BTreeMap<FrontendKey, Frontend>) {
        let mut members = BTreeSet::new();
        let there: BTreeSet<_> = self.present().into_iter().map(|(key, _)| key).collect();
        assert!(there.iter().eq(wanted.keys()), "{there:?} are there, {:?} wanted", wanted.keys());
        for (&key, wanted) in wanted {
            let at = self.find(key).expect("a lookup finds what is there");
            let Found { backends, affinity_s, .. } = self.found(key, at);
            if affinity_s > 0 {
                members.extend(backends.iter().map(|&b| (key, b)));
            }
            assert_eq!(&Frontend { key, backends, affinity_s }, wanted);
        }
        assert_eq!(self.members, members);
    }

    /// No frontend is there twice.
    pub(super) fn is_settled(&self) -> bool {
        let there = self.present();
        there.iter().map(|(key, _)| key).collect::<BTreeSet<_>>().len() == there.len()
    }
}

type Effect<'a> = Box<dyn FnOnce(&mut Kernel) + 'a>;

/// The stores of a round in their order, one after another.
fn effects(round: &Round) -> Vec<Effect<'_>> {
    let mut all: Vec<Effect<'_>> = Vec::new();
    for &(index, backend) in &round.slots {
        let family = if backend.is_ipv4() { Family::V4 } else { Family::V6 };
        all.push(Box::new(move |k| {
            k.slots.insert((family, index), backend);
        }));
    }
    for member in &round.members {
        all.push(Box::new(|k| {
            k.members.insert(*member);
        }));
    }
    for record in &round.records {
        all.push(Box::new(|k| {
            k.records.insert(record.service, (record.span, record.affinity_s));
        }));
    }
    for line in &round.lines {
        let content = Content { key: line.key, leads: line.leads.clone(), published: false };
        all.push(Box::new(|k| {
            let known = k.reaches.get(&line.place).copied().unwrap_or_default();
            assert!(line.reach >= known, "a reach never shrinks");
            k.reaches.insert(line.place, line.reach);
            let old = k.lines.insert(line.place, content);
            assert!(old.is_none_or(|old| !old.published), "a line never changes while it is published");
        }));
    }
    for (&place, &reach) in &round.reaches {
        all.push(Box::new(move |k| {
            let old = k.reaches.insert(place, reach);
            assert!(old.is_none_or(|old| old <= reach), "a reach never shrinks");
        }));
    }
    for line in &round.lines {
        all.push(Box::new(|k| k.lines.get_mut(&line.place).unwrap().published = true));
    }
    for &(key, record) in &round.frontends {
        all.push(Box::new(move |k| {
            let old = k.frontends.insert(key, record);
            assert!(old.is_none(), "an element of the hash never changes while it exists");
        }));
    }
    for place in &round.gone_lines {
        all.push(Box::new(|k| k.lines.get_mut(place).unwrap().published = false));
    }
    for key in &round.gone_frontends {
        all.push(Box::new(|k| assert!(k.frontends.remove(key).is_some())));
    }
    for member in &round.gone_members {
        all.push(Box::new(|k| assert!(k.members.remove(member))));
    }
    all
}
