//! Where everything about frontends that are reached from outside lies in the tables. Pure.
//!
//! A frontend keeps its number, and its slots while its backends are the same; frontends of the same backends share a table
//! that spreads flows over them. Nothing is placed where a program may still read.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use keelson_ebpf_common::{
    key::{Frontend4, Frontend6},
    limits::{EXTERNAL_BACKENDS_MAX, EXTERNAL_MEMBERS_MAX, EXTERNALS_MAX, MAGLEV_WORDS_MAX, RANGES_MAX},
    maglev::SIZES,
    net::{Address6, Port},
    packet::{ExternalTarget, Table},
};

use super::maglev;
use crate::plan::{Backend, ExternalFrontend, Forwarding, FrontendKey, Protocol};

/// A frontend and where it lies.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) number: u32,
    pub(super) first: u32,
    pub(super) table: Option<Table>,
    pub(super) direct: bool,
    /// The program on the wire looks after it.
    pub(super) on_wire: bool,
    pub(super) frontend: ExternalFrontend,
}

impl Placed {
    pub(super) fn target(&self) -> ExternalTarget {
        ExternalTarget {
            first: self.first,
            count: self.frontend.backends.len() as u32,
            table: self.table,
            local_only: self.frontend.local_backends_only,
            ranged: !self.frontend.source_ranges.is_empty(),
            affine: self.frontend.affinity_s > 0,
            direct: self.direct,
        }
    }

    /// As the program on the wire looks IPv4 up, if it is to; IPv6 it finds where tc does.
    pub(super) fn wire_key(&self) -> Option<Frontend4> {
        let key = frontend_key(&self.frontend.key);
        let Frontend6 { address, port, protocol, .. } = key;
        address.mapped().filter(|_| self.on_wire).map(|address| Frontend4 { address, port, protocol, pad: 0 })
    }
}

/// Which frontends are answered by their backends' nodes, and which the program on the wire looks after.
#[derive(Clone, Debug, Default)]
pub(super) struct DirectRule {
    /// For Services that do not say.
    pub(super) default: Forwarding,
    /// Where such backends are: the cluster's own ranges. Nobody else reads the option.
    pub(super) cluster: Vec<IpNet>,
    /// The program on the wire also translates.
    pub(super) translates: bool,
}

impl DirectRule {
    /// TCP or UDP, and backends that are not all of this node by policy.
    fn admits(&self, frontend: &ExternalFrontend) -> bool {
        let inside = |backend: &Backend| self.cluster.iter().any(|range| range.contains(&backend.ip()));
        frontend.forwarding.unwrap_or(self.default) == Forwarding::Dsr
            && frontend.key.protocol != Protocol::Sctp
            && !frontend.local_backends_only
            && frontend.backends.iter().all(inside)
    }
}

/// All that is placed.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    pub(super) frontends: BTreeMap<FrontendKey, Placed>,
    /// Tables by the backends over which they spread.
    pub(super) tables: BTreeMap<Vec<Backend>, Table>,
    /// Frontends without room.
    pub(super) full: Vec<FrontendKey>,
    /// How many frontends spread flows by chance for want of room for a table.
    pub(super) tables_full: usize,
}

/// What an earlier daemon has placed, by frontend: number and target.
pub(super) type Left = BTreeMap<Frontend6, (u32, ExternalTarget)>;

/// Places for all that is wanted.
pub(super) fn allocate(
    placed: &Places,
    left: &Left,
    wanted: &[ExternalFrontend],
    rule: &DirectRule,
) -> Places {
    let numbers: BTreeSet<u32> = placed
        .frontends
        .values()
        .map(|placed| placed.number)
        .chain(left.values().map(|(number, _)| *number))
        .collect();
    let mut free_numbers = (0..EXTERNALS_MAX).filter(|number| !numbers.contains(number));
    let (mut slots, mut words) = rooms(placed, left);
    let (mut members_left, mut ranges_left) = (EXTERNAL_MEMBERS_MAX as usize, RANGES_MAX as usize / 2);
    let mut next = Places::default();
    for frontend in wanted {
        let old = placed.frontends.get(&frontend.key);
        let number = old
            .map(|old| old.number)
            .or_else(|| left.get(&frontend_key(&frontend.key)).map(|(number, _)| *number))
            .or_else(|| free_numbers.next());
        let same = old.filter(|old| old.frontend.backends == frontend.backends);
        let count = frontend.backends.len() as u32;
        let members = if frontend.affinity_s > 0 { frontend.backends.len() } else { 0 };
        let fits = members <= members_left && frontend.source_ranges.len() <= ranges_left && count < 1 << 16;
        let (Some(number), true) = (number, fits) else {
            next.full.push(frontend.key);
            continue;
        };
        let Some(first) = same.map(|old| old.first).or_else(|| slots.take(count)) else {
            next.full.push(frontend.key);
            continue;
        };
        members_left -= members;
        ranges_left -= frontend.source_ranges.len();
        let table =
            if frontend.affinity_s > 0 { None } else { table(placed, &mut next, &mut words, frontend) };
        let direct = rule.admits(frontend);
        // Where only this node's own backends count there is nothing to be sent on.
        let on_wire = direct || rule.translates && !frontend.local_backends_only;
        let placed = Placed { number, first, table, direct, on_wire, frontend: frontend.clone() };
        next.frontends.insert(frontend.key, placed);
    }
    next
}

/// The table for a frontend's backends: one that is there, or a new one.
fn table(placed: &Places, next: &mut Places, words: &mut Room, frontend: &ExternalFrontend) -> Option<Table> {
    let size = maglev::size_for(frontend.backends.len())?;
    let known =
        next.tables.get(&frontend.backends).or_else(|| placed.tables.get(&frontend.backends)).copied();
    let table = known.or_else(|| {
        let entries = Table { start: 0, size };
        Some(Table { start: words.take(entries.words())?, size })
    });
    match table {
        Some(table) => drop(next.tables.insert(frontend.backends.clone(), table)),
        None => next.tables_full += 1,
    }
    table
}

/// Slots of backends, and words of tables, that nobody reads now.
fn rooms(placed: &Places, left: &Left) -> (Room, Room) {
    let targets = || {
        let ours = placed.frontends.values().map(Placed::target);
        ours.chain(left.values().map(|(_, target)| *target))
    };
    let slots = targets().filter(|target| target.count > 0).map(|t| (t.first, t.first + t.count));
    let tables = targets().filter_map(|target| target.table).chain(placed.tables.values().copied());
    let known = tables.filter(|table| (table.size as usize) < SIZES.len());
    let words = known.map(|table| (table.start, table.start + table.words()));
    (Room::beside(slots.collect(), EXTERNAL_BACKENDS_MAX), Room::beside(words.collect(), MAGLEV_WORDS_MAX))
}

/// Gaps between what is taken: start and end.
struct Room(Vec<(u32, u32)>);

impl Room {
    fn beside(taken: BTreeSet<(u32, u32)>, end: u32) -> Self {
        let (mut gaps, mut start) = (Vec::new(), 0);
        for (first, after) in taken.into_iter().chain([(end, end)]) {
            if first > start {
                gaps.push((start, first));
            }
            start = start.max(after);
        }
        Self(gaps)
    }

    /// The first gap with room for so many.
    fn take(&mut self, count: u32) -> Option<u32> {
        if count == 0 {
            return Some(0);
        }
        let gap = self.0.iter_mut().find(|(start, end)| end - start >= count)?;
        let first = gap.0;
        gap.0 += count;
        Some(first)
    }
}

/// IPv4 in mapped form.
pub(super) fn frontend_key(key: &FrontendKey) -> Frontend6 {
    Frontend6 {
        address: Address6::from_ip(key.address),
        port: Port::new(key.port),
        protocol: key.protocol as u8,
        pad: 0,
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    fn frontend(port: u16, backends: &[&str]) -> ExternalFrontend {
        ExternalFrontend {
            key: FrontendKey { address: "192.0.2.1".parse().unwrap(), port, protocol: Protocol::Tcp },
            backends: backends.iter().map(|b| b.parse().unwrap()).collect(),
            local_backends_only: false,
            source_ranges: Vec::new(),
            affinity_s: 0,
            forwarding: None,
        }
    }

    fn place(placed: &Places, wanted: &[ExternalFrontend]) -> Places {
        allocate(placed, &Left::new(), wanted, &DirectRule::default())
    }

    #[test]
    fn slots_and_tables_in_use_are_given_to_nobody_else() {
        let first = place(
            &Places::default(),
            &[frontend(1, &["10.0.0.1:1", "10.0.0.2:1"]), frontend(2, &["10.0.0.3:1"])],
        );
        // One changes, one goes, one comes.
        let wanted = [frontend(1, &["10.0.0.9:1", "10.0.0.8:1"]), frontend(3, &["10.0.0.4:1", "10.0.0.5:1"])];
        let next = place(&first, &wanted);
        assert!(next.full.is_empty() && next.tables_full == 0);
        let apart = |(a, b): (u32, u32), (c, d): (u32, u32)| b <= c || d <= a;
        let slots = |placed: &Placed| (placed.first, placed.first + placed.frontend.backends.len() as u32);
        let words = |table: Table| (table.start, table.start + table.words());
        for new in next.frontends.values() {
            for old in first.frontends.values().filter(|old| old.frontend != new.frontend) {
                assert!(apart(slots(new), slots(old)));
                assert!(old.table.is_none_or(|old| apart(words(new.table.unwrap()), words(old))));
            }
        }
        assert_eq!(next.frontends[&wanted[0].key].number, first.frontends[&wanted[0].key].number);
        // What did not change stays where it is.
        let again = place(&next, &wanted);
        let (before, after) = (&next.frontends, &again.frontends);
        assert!(after.iter().all(|(k, p)| (p.first, p.table) == (before[k].first, before[k].table)));
    }

    #[test]
    fn what_an_earlier_daemon_left_is_not_written_over() {
        let wanted = [frontend(1, &["10.0.0.1:1", "10.0.0.2:1"])];
        let first = place(&Places::default(), &wanted);
        let placed = &first.frontends[&wanted[0].key];
        let left = Left::from([(frontend_key(&wanted[0].key), (placed.number, placed.target()))]);
        let next = allocate(&Places::default(), &left, &wanted, &DirectRule::default());
        let new = &next.frontends[&wanted[0].key];
        assert_eq!(new.number, placed.number);
        assert!(new.first >= placed.first + 2);
        assert!(new.table.unwrap().start >= placed.table.unwrap().start + placed.table.unwrap().words());
    }

    #[test]
    fn the_same_backends_share_a_table_and_one_or_affine_ones_have_none() {
        let mut affine = frontend(3, &["10.0.0.1:1", "10.0.0.2:1"]);
        affine.affinity_s = 60;
        let wanted = [
            frontend(1, &["10.0.0.1:1", "10.0.0.2:1"]),
            frontend(2, &["10.0.0.1:1", "10.0.0.2:1"]),
            affine,
            frontend(4, &["10.0.0.1:1"]),
        ];
        let places = place(&Places::default(), &wanted);
        let table = |n: usize| places.frontends[&wanted[n].key].table;
        assert!(table(0).is_some() && table(0) == table(1));
        assert_eq!((table(2), table(3), places.tables.len()), (None, None, 1));
    }

    #[test]
    fn only_what_is_inside_the_cluster_is_answered_directly() {
        let dsr = |change: fn(&mut ExternalFrontend)| {
            let mut frontend = frontend(1, &["10.0.0.1:1"]);
            frontend.forwarding = Some(Forwarding::Dsr);
            change(&mut frontend);
            frontend
        };
        fn six(f: &mut ExternalFrontend) {
            f.key.address = "2001:db8::1".parse().unwrap();
            f.backends = vec!["[fd00:1::2]:1".parse().unwrap()];
        }
        let cluster = vec!["10.0.0.0/8".parse().unwrap(), "fd00:1::/64".parse().unwrap()];
        let rule = DirectRule { cluster: cluster.clone(), ..DirectRule::default() };
        for (frontend, direct) in [
            (dsr(|_| {}), true),
            (dsr(|f| f.forwarding = None), false),
            (dsr(|f| f.forwarding = Some(Forwarding::Snat)), false),
            (dsr(|f| f.affinity_s = 1), true),
            (dsr(|f| f.local_backends_only = true), false),
            (dsr(|f| f.backends.push("203.0.113.1:1".parse().unwrap())), false),
            (dsr(|f| f.key.protocol = Protocol::Sctp), false),
            (dsr(six), true),
            (
                dsr(|f| {
                    six(f);
                    f.backends.push("[2001:db8::2]:1".parse().unwrap());
                }),
                false,
            ),
            (dsr(|f| f.backends.clear()), true),
        ] {
            assert_eq!(rule.admits(&frontend), direct, "{frontend:?}");
        }
        let rule = DirectRule { default: Forwarding::Dsr, cluster, translates: false };
        assert!(rule.admits(&dsr(|f| f.forwarding = None)));
    }

    #[test]
    fn the_wire_looks_after_what_may_have_to_be_sent_on() {
        let mut wanted = vec![frontend(1, &["10.0.0.1:1"]), frontend(2, &["10.0.0.1:1"]), frontend(3, &[])];
        wanted[1].local_backends_only = true;
        let mut direct = frontend(4, &["10.0.0.1:1"]);
        direct.forwarding = Some(Forwarding::Dsr);
        wanted.push(direct);
        for (translates, expected) in
            [(false, [false, false, false, true]), (true, [true, false, true, true])]
        {
            let cluster = vec!["10.0.0.0/8".parse().unwrap()];
            let rule = DirectRule { default: Forwarding::Snat, cluster, translates };
            let places = allocate(&Places::default(), &Left::new(), &wanted, &rule);
            let keys = wanted.iter().map(|frontend| places.frontends[&frontend.key].wire_key().is_some());
            assert!(keys.eq(expected), "{translates}");
        }
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let backends: Vec<String> =
            (0..40_000_u32).map(|n| format!("10.{}.{}.1:80", n >> 8, n & 255)).collect();
        let backends: Vec<&str> = backends.iter().map(String::as_str).collect();
        let wanted = [frontend(1, &backends), frontend(2, &backends), frontend(3, &["10.0.0.1:1"])];
        let places = place(&Places::default(), &wanted);
        assert_eq!((places.frontends.len(), places.full), (2, vec![wanted[1].key]));
    }

    #[test]
    fn without_room_for_its_table_a_frontend_does_without() {
        let wanted: Vec<_> = (0..200_u16)
            .map(|n| {
                let backends: Vec<String> =
                    (0..328).map(|b| format!("10.{n}.{}.{}:80", b >> 8, b & 255)).collect();
                frontend(n, &backends.iter().map(String::as_str).collect::<Vec<_>>())
            })
            .collect();
        let wanted = &wanted[..199];
        let places = place(&Places::default(), wanted);
        assert_eq!((places.frontends.len(), places.tables.len(), places.tables_full), (199, 128, 71));
    }
}
