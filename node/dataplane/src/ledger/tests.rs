//! What a ledger's steps do, by examples and by the model's rules under any sequence of changes and deaths.

mod model;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use keelson_ebpf_common::{key::Frontend4, value::Span};
use proptest::prelude::*;

use super::*;
use crate::{
    encode::{KernelKey, frontend_key},
    plan::Protocol,
};
use model::Kernel;

const SMALL: Capacity = Capacity {
    shards4_log2: 1,
    shard_lines: 4,
    backends4: 16,
    backends6: 16,
    frontends4: 5,
    frontends6: 5,
    per_service: 8,
    members: 100,
};

/// Even numbers are of IPv4, odd ones of IPv6, in the properties; elsewhere [`key`] alone.
fn either_key(n: u8) -> FrontendKey {
    if n.is_multiple_of(2) { key(n) } else { key6(n.into()) }
}

fn key(n: u8) -> FrontendKey {
    FrontendKey { address: [10, 96, 0, n].into(), port: 80, protocol: Protocol::Tcp }
}

fn key6(n: u16) -> FrontendKey {
    FrontendKey { address: [0xfd00, 0, 0, 0, 0, 0, 0, n].into(), port: 80, protocol: Protocol::Tcp }
}

/// Backends of Services are disjoint, so that a wrong one is seen.
fn frontend(n: u8, backends: &BTreeSet<u8>, affinity_s: u32) -> Frontend {
    of_key(key(n), n, backends, affinity_s)
}

fn of_key(key: FrontendKey, n: u8, backends: &BTreeSet<u8>, affinity_s: u32) -> Frontend {
    let address = |b: u8| match family_of(&key) {
        Family::V4 => [10, 244, n, b].into(),
        Family::V6 => [0xfd01, 0, 0, 0, 0, 0, n.into(), b.into()].into(),
    };
    let backends = backends.iter().map(|&b| Backend::new(address(b), 8080)).collect();
    Frontend { key, backends, affinity_s }
}

#[derive(Clone, Debug)]
enum Act {
    Place(u8, BTreeSet<u8>, u32),
    Remove(u8),
    /// The daemon dies after so many stores of the next change.
    Die(usize),
    Restart,
    /// Somebody waits in the place of changes to come.
    BeginWait,
    EndWait,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        12 => (0_u8..8, prop::collection::btree_set(0_u8..9, 0..8), prop_oneof![3 => Just(0_u32), 1 => Just(10)])
            .prop_map(|(n, b, a)| Act::Place(n, b, a)),
        5 => (0_u8..8).prop_map(Act::Remove),
        1 => (0_usize..12).prop_map(Act::Die),
        1 => Just(Act::Restart),
        4 => Just(Act::BeginWait),
        4 => Just(Act::EndWait),
    ]
}

/// A daemon, the kernel that it writes, and what it was asked for.
struct World {
    ledger: Ledger,
    kernel: Kernel,
    wanted: BTreeMap<FrontendKey, Frontend>,
    dies_after: Option<usize>,
    /// Numbers of the waits that are going on, and the next.
    waits: VecDeque<u64>,
    next_wait: u64,
}

impl World {
    fn begin_wait(&mut self) {
        if self.ledger.begin_settling(self.next_wait) {
            self.kernel.begin_wait(self.next_wait);
            self.waits.push_back(self.next_wait);
            self.next_wait += 1;
        }
    }

    fn end_wait(&mut self) {
        if let Some(number) = self.waits.pop_front() {
            self.kernel.end_wait(number);
            let steps = self.ledger.settle(number);
            self.kernel.take(&steps, &self.wanted, usize::MAX);
        }
    }

    fn change(&mut self, gone: &[FrontendKey], placed: Option<Frontend>) {
        let steps = self.ledger.change(gone, placed.as_slice());
        gone.iter().for_each(|key| drop(self.wanted.remove(key)));
        if steps.full.is_empty() {
            self.wanted.extend(placed.map(|frontend| (frontend.key, frontend)));
        }
        let limit = self.dies_after.unwrap_or(usize::MAX);
        self.kernel.take(&steps, &self.wanted, limit);
        if self.dies_after.take().is_some() {
            self.restart();
        }
    }

    /// Processes end and start again; the kernel's readers do not mind, but long runs have ended.
    fn restart(&mut self) {
        self.kernel.grace(&self.wanted);
        let (adopted, steps) = Ledger::adopt(SMALL, self.kernel.read_back());
        self.ledger = adopted;
        self.kernel.take(&steps, &self.wanted, usize::MAX);
        // What was not done is done now; what has no room any more is not wanted.
        let all: Vec<_> = self.wanted.values().cloned().collect();
        let steps = self.ledger.replace(&all);
        self.kernel.take(&steps, &self.wanted, usize::MAX);
        for full in steps.full {
            let old = self.ledger.content().find(|frontend| frontend.key == full.frontend);
            self.wanted.remove(&full.frontend);
            self.wanted.extend(old.map(|old| (old.key, old)));
        }
    }
}

proptest! {
    #[test]
    fn no_reader_ever_finds_a_backend_of_another_service(acts in prop::collection::vec(act(), 1..60)) {
        let mut world = World {
            ledger: Ledger::new(SMALL),
            kernel: Kernel::default(),
            wanted: BTreeMap::new(),
            dies_after: None,
            waits: VecDeque::new(),
            next_wait: 0,
        };
        for act in acts {
            match act {
                Act::Place(n, backends, affinity_s) => {
                    world.change(&[], Some(of_key(either_key(n), n, &backends, affinity_s)));
                }
                Act::Remove(n) => world.change(&[either_key(n)], None),
                Act::Die(stores) => {
                    world.dies_after = Some(stores);
                    continue;
                }
                Act::Restart => world.restart(),
                Act::BeginWait => world.begin_wait(),
                Act::EndWait => world.end_wait(),
            }
            world.kernel.holds(&world.wanted);
            let all: Vec<_> = world.wanted.values().cloned().collect();
            prop_assert!(world.ledger.replace(&all).is_empty(), "nothing to do when all is as wanted");
        }
        world.begin_wait();
        while !world.waits.is_empty() {
            world.end_wait();
            world.begin_wait();
        }
        world.kernel.holds(&world.wanted);
        prop_assert!(world.kernel.is_settled(), "what goes out is gone in the end");
    }
}

#[test]
fn a_changed_ipv4_frontend_gets_a_second_line_before_it_loses_the_first() {
    let mut ledger = Ledger::new(SMALL);
    let steps = ledger.change(&[], &[frontend(1, &[1, 2].into(), 0)]);
    let first = steps.rounds[0].lines[0].place;
    assert!(steps.rounds[0].slots.is_empty(), "few backends lie in the line");
    let steps = ledger.change(&[], &[frontend(1, &[2, 3].into(), 0)]);
    let [round] = &steps.rounds[..] else { panic!("no grace period needed: {steps:?}") };
    assert_ne!(round.lines[0].place, first, "the first line is still read");
    assert_eq!(round.gone_lines, [first]);
}

/// Places of the lines that steps publish.
fn published(steps: &Steps) -> Vec<u32> {
    steps.rounds.iter().flat_map(|round| &round.lines).map(|line| line.place).collect()
}

#[test]
fn a_nearer_line_is_found_before_the_first_one_which_goes_when_nobody_needs_it() {
    let mut ledger = Ledger::new(Capacity { shard_lines: 100, ..SMALL });
    let change = |ledger: &mut Ledger, backend: u8| {
        let steps = ledger.change(&[], &[frontend(1, &[backend].into(), 0)]);
        let [round] = &steps.rounds[..] else { panic!("nothing is waited for: {steps:?}") };
        (round.lines[0].place, round.gone_lines.clone())
    };
    let settle = |ledger: &mut Ledger, number| {
        assert!(ledger.begin_settling(number));
        ledger.settle(number).rounds.into_iter().flat_map(|round| round.gone_lines).collect::<Vec<_>>()
    };
    let mut places = vec![change(&mut ledger, 0).0];
    assert!(settle(&mut ledger, 0).is_empty(), "how far lookups go was raised");
    places.extend((1..5).map(|backend| change(&mut ledger, backend).0));
    assert!(settle(&mut ledger, 1).is_empty());
    let (place, gone) = change(&mut ledger, 5);
    assert_eq!((place, &gone[..]), (places[0], &[][..]), "it comes back, and the other one stays for now");
    // Between the two there is room for three more changes.
    places.rotate_left(1);
    (0..3).for_each(|n| assert_eq!(change(&mut ledger, 6 + n).0, places[usize::from(n)]));
    assert_eq!(settle(&mut ledger, 2), [places[3]]);
    let steps = ledger.change(&[key(1)], &[]);
    assert_eq!(steps.rounds[0].gone_lines, [places[2]]);
}

#[test]
fn a_frontend_that_goes_takes_all_its_lines_along_the_old_ones_first() {
    let mut ledger = Ledger::new(Capacity { shard_lines: 100, ..SMALL });
    let change = |ledger: &mut Ledger, b: u8| published(&ledger.change(&[], &[frontend(1, &[b].into(), 0)]));
    let mut lines = change(&mut ledger, 0);
    assert!(ledger.begin_settling(0) && ledger.settle(0).is_empty());
    lines.extend((1..5).flat_map(|b| change(&mut ledger, b)));
    assert!(ledger.begin_settling(1) && ledger.settle(1).is_empty());
    assert_eq!(change(&mut ledger, 5), lines[..1]);
    assert!(ledger.begin_settling(2), "a wait for it is going on");
    assert_eq!(ledger.change(&[key(1)], &[]).rounds[0].gone_lines, [lines[4], lines[0]]);
    assert!(ledger.settle(2).is_empty());
}

/// What `bench sync` measures on a cluster, without a clock: nobody waits for a grace period.
#[test]
fn of_ten_thousand_frontends_one_after_another_changes_at_once() {
    let key = |n: u32| FrontendKey {
        address: (0x0a60_0000 + n).to_be_bytes().into(),
        port: 80,
        protocol: Protocol::Tcp,
    };
    let of = |n: u32, b: u8| Frontend {
        key: key(n),
        backends: vec![Backend::new([10, 244, 0, b].into(), 80)],
        affinity_s: 0,
    };
    let all: Vec<_> = (0..10_000).map(|n| of(n, 0)).collect();
    let scale = Capacity::scale_for(&all, 0);
    let mut ledger = Ledger::new(Capacity::at(scale));
    assert!(ledger.replace(&all).full.is_empty());
    let mut settlings = 0_u64;
    let mut settle = |ledger: &mut Ledger| {
        while ledger.begin_settling(settlings) {
            ledger.settle(settlings);
            settlings += 1;
        }
    };
    settle(&mut ledger);
    let mut waited = 0;
    for turn in 1..=8 {
        for n in 0..10_000 {
            waited += usize::from(ledger.change(&[], &[of(n, turn)]).rounds.len() > 1);
            if n % 4 == 3 {
                settle(&mut ledger);
            }
        }
    }
    assert!(waited < 160, "{waited} of 80,000, where no line near is free");
}

#[test]
fn a_change_waits_where_no_line_near_it_is_free_or_lookups_could_miss_both_lines() {
    let mut ledger = Ledger::new(Capacity { shard_lines: 100, ..SMALL });
    let mut change = |backend: u8| {
        let steps = ledger.change(&[], &[frontend(1, &[backend].into(), 0)]);
        let mut places = steps.rounds.iter().flat_map(|r| &r.lines).map(|line| line.place);
        (steps.rounds.len(), places.next_back().unwrap())
    };
    let (_, own) = change(0);
    let distance = |place: u32| (place + 100 - own) % 100;
    let moves: Vec<_> = (1..=100).map(&mut change).map(|(rounds, place)| (rounds, distance(place))).collect();
    // Once after it was said how far to look, and where all lines near it rest.
    assert_eq!(moves[..5], [(1, 1), (2, 2), (1, 3), (1, 4), (1, 0)]);
    assert!(moves.iter().all(|&(_, distance)| distance <= 4), "it never goes far: {moves:?}");
    assert!(moves.iter().filter(|&&(rounds, _)| rounds > 1).count() <= 33, "most do not wait: {moves:?}");
}

#[test]
fn many_that_change_at_once_wait_together() {
    let mut ledger = Ledger::new(Capacity { shard_lines: 500, frontends4: 300, ..SMALL });
    let all = |turn: u8| -> Vec<_> { (0..250).map(|n| frontend(n, &[turn].into(), 0)).collect() };
    for turn in 0..40 {
        let steps = ledger.change(&[], &all(turn));
        assert!(steps.full.is_empty() && steps.rounds.len() <= 4, "{} rounds", steps.rounds.len());
    }
}

#[test]
fn new_backends_are_in_slots_before_the_switch_and_old_slots_rest() {
    let two = |backends: [u8; 2]| of_key(key6(1), 1, &backends.into(), 0);
    let mut ledger = Ledger::new(SMALL);
    ledger.change(&[], &[two([1, 2])]);
    let steps = ledger.change(&[], &[two([2, 3])]);
    let [round] = &steps.rounds[..] else { panic!("no grace period needed: {steps:?}") };
    let first = round.records[0].span.first;
    assert_eq!(round.slots.iter().map(|s| s.0).collect::<Vec<_>>(), [first, first + 1]);
    assert_ne!(first, 0, "the first span is still read");
    assert!(round.frontends.is_empty(), "the frontend itself does not change");
}

#[test]
fn backends_move_between_line_and_slots_as_their_number_says() {
    let mut ledger = Ledger::new(SMALL);
    let mut slots = |count: u8, affinity_s| {
        let steps = ledger.change(&[], &[frontend(1, &(0..count).collect(), affinity_s)]);
        let round = steps.rounds.iter().find(|round| !round.lines.is_empty()).unwrap();
        assert!(matches!(round.lines[0].leads, Leads::Here(_)) == round.slots.is_empty());
        round.slots.len()
    };
    assert_eq!([slots(5, 0), slots(6, 0), slots(4, 0), slots(4, 10), slots(0, 0)], [0, 6, 0, 4, 0]);
}

#[test]
fn an_ipv6_frontend_made_after_another_was_removed_waits_for_readers() {
    let six = |n| of_key(key6(n), 1, &[].into(), 0);
    let mut ledger = Ledger::new(SMALL);
    ledger.change(&[], &[six(1), frontend(1, &[1].into(), 0)]);
    ledger.change(&[six(1).key, key(1)], &[]);
    let rounds = |steps: Steps| steps.rounds.len();
    assert_eq!(rounds(ledger.change(&[], &[frontend(2, &[1].into(), 0)])), 1, "its line is another");
    assert_eq!(rounds(ledger.change(&[], &[six(2)])), 2);
    assert_eq!(rounds(ledger.change(&[], &[six(3)])), 1);
}

#[test]
fn a_wait_made_before_spares_the_next_change_one_unless_something_came_between() {
    let change = |ledger: &mut Ledger, b: u8| ledger.change(&[], &[frontend(1, &[b].into(), 0)]).rounds.len();
    // A line raised how far lookups go, and the change after it has to wait for those that do not know.
    let mut ledger = Ledger::new(SMALL);
    assert_eq!([change(&mut ledger, 1), change(&mut ledger, 2), change(&mut ledger, 3)], [1, 1, 2]);

    let mut ledger = Ledger::new(SMALL);
    assert_eq!([change(&mut ledger, 1), change(&mut ledger, 2)], [1, 1]);
    assert!(ledger.begin_settling(7) && !ledger.begin_settling(8), "one at a time");
    ledger.settle(7);
    assert_eq!(change(&mut ledger, 3), 1);

    // Neither a wait that goes on spares it, nor the end of another.
    let mut ledger = Ledger::new(SMALL);
    assert_eq!([change(&mut ledger, 1), change(&mut ledger, 2)], [1, 1]);
    assert!(ledger.begin_settling(7));
    ledger.settle(6);
    assert_eq!(change(&mut ledger, 3), 2);
    ledger.settle(7);
    assert!(ledger.begin_settling(8), "what that change has left");
    ledger.settle(8);
    assert!(!ledger.begin_settling(9), "nothing rests");
}

#[test]
fn a_line_of_the_table_is_not_used_again_before_a_grace_period() {
    let mut ledger = Ledger::new(Capacity { frontends4: 100, ..SMALL });
    let place = |ledger: &mut Ledger, n| ledger.change(&[], &[frontend(n, &[].into(), 0)]);
    let line = |steps: &Steps| steps.rounds.iter().flat_map(|r| &r.lines).map(|l| l.place).next();
    // Of one of the two shards, so that the first four fill it.
    let alike: Vec<u8> = (0..40).filter(|&n| shard(n) == 0).collect();
    let lines: Vec<_> = alike[..4].iter().map(|&n| line(&place(&mut ledger, n)).unwrap()).collect();
    assert_eq!(place(&mut ledger, alike[4]).full[0].what, "frontends (its part of the table is full)");
    ledger.change(&[key(alike[2])], &[]);
    let steps = place(&mut ledger, alike[4]);
    assert_eq!((steps.rounds.len(), line(&steps)), (2, Some(lines[2])));
}

fn shard(n: u8) -> u32 {
    let KernelKey::V4(key) = frontend_key(&key(n)) else { panic!("of IPv4") };
    Frontend4::home(key.word(), SMALL.shards4_log2, SMALL.shard_lines).0
}

#[test]
fn every_limit_is_named_and_leaves_what_was_there() {
    let mut ledger = Ledger::new(Capacity { shard_lines: 8, ..SMALL });
    let many: BTreeSet<u8> = (0..9).collect();
    let steps = ledger.change(&[], &[frontend(1, &many, 0)]);
    assert_eq!(steps.full[0].what, "backends of one Service");
    assert_eq!(ledger.frontends(), 0);

    let six: Vec<_> = (1..=6).map(|n| frontend(n, &[1].into(), 0)).collect();
    let steps = ledger.change(&[], &six);
    assert_eq!((steps.full.len(), steps.full[0].what, steps.full[0].limit), (1, "frontends", 5));

    let eight: BTreeSet<u8> = (0..8).collect();
    ledger.change(&[], &[frontend(1, &eight, 0), frontend(2, &eight, 0)]);
    let steps = ledger.change(&[], &[frontend(3, &eight, 0)]);
    assert_eq!((steps.full[0].what, steps.full[0].wanted), ("backend slots", 8));
    assert_eq!(ledger.backends(), 8 + 8 + 3);
}

#[test]
fn what_makes_no_sense_in_the_kernel_is_removed_or_written_anew() {
    let good = of_key(key6(1), 1, &[1, 2].into(), 5);
    let found = |n, service, first, backends: &[Backend]| Found {
        key: key6(n),
        service,
        span: Span { first, count: backends.len() as u32 },
        affinity_s: 5,
        backends: backends.to_vec(),
    };
    let stray = (key(4), Backend::new([10, 244, 9, 9].into(), 1));
    let mut members: BTreeSet<_> = good.backends.iter().map(|&b| (key6(1), b)).collect();
    members.insert(stray);
    let frontends = vec![
        found(1, 1, 0, &good.backends),
        found(2, 1, 4, &good.backends),  // the record of another
        found(3, 99, 4, &good.backends), // no record
        found(4, 2, 1, &good.backends),  // overlaps and is no block
    ];
    let (mut ledger, steps) = Ledger::adopt(SMALL, FoundAll { frontends, reaches: vec![], members });
    assert_eq!(steps.rounds[0].gone_frontends, [key6(2), key6(3)]);
    assert_eq!(steps.rounds[0].gone_members, [stray]);
    let steps = ledger.replace(&[good, of_key(key6(4), 4, &[].into(), 0)]);
    assert_eq!(steps.rounds[0].records, [steps::Record { service: 2, span: Span::default(), affinity_s: 0 }]);
}

#[test]
fn of_two_lines_of_a_frontend_the_second_goes_and_so_does_one_that_nobody_finds() {
    let found = |n, service, backend| Found {
        key: key(n),
        service,
        span: Span::default(),
        affinity_s: 0,
        backends: vec![Backend::new([10, 244, n, backend].into(), 8080)],
    };
    let mut first = Ledger::new(SMALL);
    let steps = first.change(&[], &[frontend(1, &[1].into(), 0)]);
    let home = steps.rounds[0].lines[0].place;
    let next = home / 4 * 4 + (home + 1) % 4;
    let (other, lost) = (key(2), (home + 4) % 8);
    assert_eq!(shard(2), shard(1));
    let all = FoundAll {
        frontends: vec![found(1, home, 1), found(1, next, 2), found(2, lost, 1)],
        reaches: vec![(home, 1)],
        members: BTreeSet::new(),
    };
    let (mut ledger, steps) = Ledger::adopt(SMALL, all);
    assert_eq!(steps.rounds[0].gone_lines, [next, lost], "{other} belongs to the other shard");
    assert_eq!(ledger.frontends(), 1);
    assert!(ledger.replace(&[frontend(1, &[1].into(), 0)]).is_empty());
}
