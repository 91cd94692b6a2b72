//! A ledger from what was read back from the kernel.

use std::collections::BTreeSet;

use keelson_ebpf_common::value::Span;

use super::{Capacity, Ledger, Member, Placed, Round, Steps, family_of};
use crate::plan::{Backend, FrontendKey};

/// Everything that was read back.
#[derive(Clone, Debug, Default)]
pub struct FoundAll {
    /// The frontends of both families.
    pub frontends: Vec<Found>,
    /// The reach of every line of the table of IPv4 frontends that has one, by its place.
    pub reaches: Vec<(u32, u8)>,
    /// Members of Services with session affinity.
    pub members: BTreeSet<Member>,
}

/// A frontend as it was read back.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its key.
    pub key: FrontendKey,
    /// The place of its line, or the index that it names as its record.
    pub service: u32,
    /// The slots; empty when the backends are in the line, or for a record that does not exist.
    pub span: Span,
    /// Session affinity in seconds.
    pub affinity_s: u32,
    /// The backends, in their order. Fewer than `span.count` when the span leads out of the array.
    pub backends: Vec<Backend>,
}

impl Ledger {
    /// The book of maps that hold `found`, and the steps that remove what makes no sense: frontends whose record is another's,
    /// lines where no lookup comes by, members of no Service with affinity; and the second line of a frontend that somebody
    /// was about to change. To be taken before any other.
    pub fn adopt(capacity: Capacity, found: FoundAll) -> (Self, Steps) {
        let mut ledger = Self::new(capacity);
        let mut round = Round::default();
        let mut strays = found.members.clone();
        for &(place, reach) in &found.reaches {
            ledger.records.found_reach(place, reach);
        }
        // Of two lines of a frontend the one that lookups find, which is the later one.
        let mut frontends: Vec<_> = found.frontends.iter().collect();
        frontends.sort_by_key(|one| (one.key, ledger.records.distance(&one.key, one.service)));
        for one in frontends {
            let family = family_of(&one.key);
            let reserved = ledger.records.reserve(&one.key, one.service);
            if !reserved || ledger.placed.contains_key(&one.key) {
                ledger.leave_out(one, &mut round);
                continue;
            }
            let member = |&b: &Backend| found.members.contains(&(one.key, b));
            let complete = one.affinity_s == 0 || one.backends.iter().all(member);
            let placed = ledger.place_found(one, complete);
            if placed.affinity_s > 0 {
                for &backend in placed.backends() {
                    strays.remove(&(one.key, backend));
                }
                ledger.members += placed.backends().len();
            }
            ledger.frontends4 += usize::from(family == crate::plan::Family::V4);
            ledger.placed.insert(one.key, placed);
        }
        round.gone_members = strays.into_iter().collect();
        (ledger, Steps { rounds: vec![round], full: Vec::new() })
    }

    /// Until it is gone and a grace period has passed, it is read: an IPv4 frontend's line and slots are not free before.
    fn leave_out(&mut self, found: &Found, round: &mut Round) {
        let family = family_of(&found.key);
        if found.key.address.is_ipv6() {
            round.gone_frontends.push(found.key);
            self.resting.frontends6 = true;
            return;
        }
        round.gone_lines.push(found.service);
        self.resting.records.push((family, found.service));
        if self.slots(family).reserve(found.span) {
            self.rest(family, found.span);
        }
    }

    /// What is wrong about a record is entered so that it differs from whatever is wanted, and is written anew.
    fn place_found(&mut self, found: &Found, members_complete: bool) -> Placed {
        let whole = found.span.count == 0 || found.backends.len() == found.span.count as usize;
        let sound =
            whole && found.backends.is_sorted() && self.slots(family_of(&found.key)).reserve(found.span);
        let right = sound && members_complete;
        Placed {
            service: found.service,
            span: if sound { found.span } else { Span::default() },
            backends: right.then(|| found.backends.clone().into_boxed_slice()),
            affinity_s: found.affinity_s,
        }
    }
}
