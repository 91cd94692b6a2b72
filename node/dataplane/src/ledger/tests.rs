//! A model of the kernel takes the steps one by one, while readers run at every point between them.

use std::collections::{BTreeMap, BTreeSet};

use keelson_ebpf_common::value::Span;
use proptest::prelude::*;

use super::*;
use crate::plan::Protocol;

const SMALL: Capacity = Capacity {
    buckets4_log2: 1,
    backends4: 16,
    backends6: 16,
    frontends4: 5,
    frontends6: 5,
    per_service: 8,
    members: 100,
};

/// The maps, and a program run that has read up to some point.
#[derive(Clone, Debug, Default)]
struct Kernel {
    frontends: BTreeMap<FrontendKey, u32>,
    records: BTreeMap<u32, (Span, u32)>,
    slots: BTreeMap<u32, Backend>,
    members: BTreeSet<Member>,
    readers: Vec<Reader>,
    /// What each frontend was allowed to lead to since the oldest reader started.
    allowed: BTreeMap<FrontendKey, BTreeSet<Backend>>,
}

#[derive(Clone, Debug)]
struct Reader {
    key: FrontendKey,
    record: u32,
    span: Option<Span>,
}

impl Kernel {
    /// Starts readers at every frontend and lets half of the running ones read their record: whatever such a reader
    /// finds, now or later, must be a backend that its frontend had or is about to have.
    fn observe(&mut self) {
        for reader in self.readers.clone() {
            let span = reader
                .span
                .unwrap_or_else(|| self.records.get(&reader.record).copied().unwrap_or_default().0);
            for index in span.first..span.first + span.count {
                let backend = self.slots.get(&index).copied();
                let allowed = &self.allowed[&reader.key];
                assert!(
                    backend.is_some_and(|b| allowed.contains(&b)),
                    "{} reads slot {index}: {backend:?}, allowed {allowed:?}",
                    reader.key
                );
            }
        }
        for (&key, &record) in &self.frontends {
            let span = self.records[&record].0;
            self.readers.push(Reader { key, record, span: None });
            self.readers.push(Reader { key, record, span: Some(span) });
        }
    }

    fn grace(&mut self, wanted: &BTreeMap<FrontendKey, Frontend>) {
        self.observe();
        self.readers.clear();
        self.allowed.clear();
        self.allow_present();
        self.allow(wanted);
    }

    fn allow(&mut self, wanted: &BTreeMap<FrontendKey, Frontend>) {
        for (key, frontend) in wanted {
            self.allowed.entry(*key).or_default().extend(&frontend.backends);
        }
    }

    fn allow_present(&mut self) {
        for (&key, record) in &self.frontends {
            let span = self.records[record].0;
            let present = (span.first..span.first + span.count).map(|i| self.slots[&i]);
            self.allowed.entry(key).or_default().extend(present);
        }
    }

    fn take(&mut self, steps: &Steps, wanted: &BTreeMap<FrontendKey, Frontend>) {
        self.allow(wanted);
        for (i, round) in steps.rounds.iter().enumerate() {
            if i > 0 {
                self.grace(wanted);
            }
            for &(index, backend) in &round.slots {
                self.slots.insert(index, backend);
                self.observe();
            }
            self.members.extend(&round.members);
            for record in &round.records {
                self.records.insert(record.service, (record.span, record.affinity_s));
                self.observe();
            }
            for &(key, record) in &round.frontends {
                assert!(
                    self.frontends.insert(key, record).is_none(),
                    "a frontend never changes while it exists"
                );
                self.observe();
            }
            for (key, _) in &round.gone_frontends {
                assert!(self.frontends.remove(key).is_some());
                self.observe();
            }
            for member in &round.gone_members {
                assert!(self.members.remove(member));
            }
        }
    }

    fn read_back(&self) -> Vec<Found> {
        let found = |(&key, &service): (&FrontendKey, &u32)| {
            let (span, affinity_s) = self.records[&service];
            let backends = (span.first..span.first + span.count).map(|i| self.slots[&i]).collect();
            Found { key, service, span, affinity_s, backends }
        };
        self.frontends.iter().map(found).collect()
    }

    fn holds(&self, wanted: &BTreeMap<FrontendKey, Frontend>) {
        let mut members = BTreeSet::new();
        let found: BTreeMap<_, _> = self
            .read_back()
            .into_iter()
            .map(|f| {
                if f.affinity_s > 0 {
                    members.extend(f.backends.iter().map(|&b| (f.key, b)));
                }
                (f.key, Frontend { key: f.key, backends: f.backends, affinity_s: f.affinity_s })
            })
            .collect();
        assert_eq!(&found, wanted);
        assert_eq!(self.members, members);
    }
}

fn key(n: u8) -> FrontendKey {
    FrontendKey { address: [10, 96, 0, n].into(), port: 80, protocol: Protocol::Tcp }
}

/// Backends of Services are disjoint, so that a wrong one is seen.
fn frontend(n: u8, backends: &BTreeSet<u8>, affinity_s: u32) -> Frontend {
    let backends = backends.iter().map(|&b| Backend::new([10, 244, n, b].into(), 8080)).collect();
    Frontend { key: key(n), backends, affinity_s }
}

#[derive(Clone, Debug)]
enum Act {
    Place(u8, BTreeSet<u8>, u32),
    Remove(u8),
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0_u8..5, prop::collection::btree_set(0_u8..6, 0..5), prop_oneof![Just(0_u32), Just(10)])
            .prop_map(|(n, b, a)| Act::Place(n, b, a)),
        3 => (0_u8..5).prop_map(Act::Remove),
        1 => Just(Act::Restart),
    ]
}

proptest! {
    #[test]
    fn no_reader_ever_finds_a_backend_of_another_service(acts in prop::collection::vec(act(), 1..40)) {
        let (mut ledger, mut kernel, mut wanted) = (Ledger::new(SMALL), Kernel::default(), BTreeMap::new());
        for act in acts {
            let steps = match act {
                Act::Place(n, backends, affinity_s) => {
                    let frontend = frontend(n, &backends, affinity_s);
                    let steps = ledger.change(&[], std::slice::from_ref(&frontend));
                    if steps.full.is_empty() {
                        wanted.insert(frontend.key, frontend);
                    }
                    steps
                }
                Act::Remove(n) => {
                    wanted.remove(&key(n));
                    ledger.change(&[key(n)], &[])
                }
                Act::Restart => {
                    // Processes end and start again; the kernel's readers do not mind, but long runs have ended.
                    kernel.grace(&wanted);
                    let (adopted, steps) = Ledger::adopt(SMALL, kernel.read_back(), &kernel.members);
                    prop_assert!(steps.is_empty());
                    ledger = adopted;
                    steps
                }
            };
            kernel.take(&steps, &wanted);
            kernel.holds(&wanted);
            let all: Vec<_> = wanted.values().cloned().collect();
            prop_assert!(ledger.replace(&all).is_empty(), "nothing to do when all is as wanted");
        }
    }
}

#[test]
fn new_backends_are_in_place_before_the_switch_and_old_slots_rest() {
    let mut ledger = Ledger::new(SMALL);
    ledger.change(&[], &[frontend(1, &[1, 2].into(), 0)]);
    let steps = ledger.change(&[], &[frontend(1, &[2, 3].into(), 0)]);
    let [round] = &steps.rounds[..] else { panic!("no grace period needed: {steps:?}") };
    let first = round.records[0].span.first;
    assert_eq!(round.slots.iter().map(|s| s.0).collect::<Vec<_>>(), [first, first + 1]);
    assert_ne!(first, 0, "the first span is still read");
    assert!(round.frontends.is_empty(), "the frontend itself does not change");
}

#[test]
fn an_ipv6_frontend_made_after_another_was_removed_waits_for_readers() {
    let six = |n: u16| Frontend {
        key: FrontendKey { address: [0xfd00, 0, 0, 0, 0, 0, 0, n].into(), port: 80, protocol: Protocol::Tcp },
        backends: vec![],
        affinity_s: 0,
    };
    let mut ledger = Ledger::new(SMALL);
    ledger.change(&[], &[six(1), frontend(1, &[1].into(), 0)]);
    ledger.change(&[six(1).key, key(1)], &[]);
    let rounds = |steps: Steps| steps.rounds.len();
    assert_eq!(
        rounds(ledger.change(&[], &[frontend(2, &[1].into(), 0)])),
        1,
        "its entry of the table is another"
    );
    assert_eq!(rounds(ledger.change(&[], &[six(2)])), 2);
    assert_eq!(rounds(ledger.change(&[], &[six(3)])), 1);
}

#[test]
fn an_entry_of_the_table_is_not_used_again_before_a_grace_period() {
    let mut ledger = Ledger::new(Capacity { frontends4: 100, ..SMALL });
    let place = |ledger: &mut Ledger, n| ledger.change(&[], &[frontend(n, &[].into(), 0)]);
    let record = |steps: &Steps| steps.rounds.iter().flat_map(|r| &r.frontends).map(|f| f.1).next();
    let records: Vec<_> = (0..8).map(|n| record(&place(&mut ledger, n)).unwrap()).collect();
    assert_eq!(place(&mut ledger, 8).full[0].what, "frontends (its part of the table is full)");
    ledger.change(&[key(5)], &[]);
    let steps = place(&mut ledger, 8);
    assert_eq!((steps.rounds.len(), record(&steps)), (2, Some(records[5])));
}

#[test]
fn every_limit_is_named_and_leaves_what_was_there() {
    let mut ledger = Ledger::new(SMALL);
    let many: BTreeSet<u8> = (0..9).collect();
    let steps = ledger.change(&[], &[frontend(1, &many, 0)]);
    assert_eq!(steps.full[0].what, "backends of one Service");
    assert_eq!(ledger.frontends(), 0);

    let six: Vec<_> = (1..=6).map(|n| frontend(n, &[1].into(), 0)).collect();
    let steps = ledger.change(&[], &six);
    assert_eq!((steps.full.len(), steps.full[0].what, steps.full[0].limit), (1, "frontends", 5));

    let eight: BTreeSet<u8> = (0..8).collect();
    ledger.change(&[], &[frontend(1, &eight, 0)]);
    let steps = ledger.change(&[], &[frontend(2, &eight, 0)]);
    assert_eq!((steps.full[0].what, steps.full[0].wanted), ("backend slots", 8));
    assert_eq!(ledger.backends(), 8 + 4);
}

#[test]
fn what_makes_no_sense_in_the_kernel_is_removed_or_written_anew() {
    let good = frontend(1, &[1, 2].into(), 5);
    let found = |n, service, first, backends: &[Backend]| Found {
        key: key(n),
        service,
        span: Span { first, count: backends.len() as u32 },
        affinity_s: 5,
        backends: backends.to_vec(),
    };
    let stray = (key(4), Backend::new([10, 244, 9, 9].into(), 1));
    let mut members: BTreeSet<_> = good.backends.iter().map(|&b| (key(1), b)).collect();
    members.insert(stray);
    let (mut ledger, steps) = Ledger::adopt(
        SMALL,
        vec![
            found(1, 1, 0, &good.backends),
            found(2, 1, 4, &good.backends),  // the record of another
            found(3, 99, 4, &good.backends), // no record
            found(4, 2, 1, &good.backends),  // overlaps and is no block
        ],
        &members,
    );
    assert_eq!(steps.rounds[0].gone_frontends, [(key(2), 1), (key(3), 99)]);
    assert_eq!(steps.rounds[0].gone_members, [stray]);
    let steps = ledger.replace(&[good, frontend(4, &[].into(), 0)]);
    assert_eq!(steps.rounds[0].records, [steps::Record { service: 2, span: Span::default(), affinity_s: 0 }]);
}
