//! A ledger from what was read back from the kernel.

use std::collections::BTreeSet;

use keelson_ebpf_common::value::Span;

use super::{Capacity, Ledger, Member, Placed, Round, Steps, family_of};
use crate::plan::{Backend, FrontendKey};

/// A frontend as it was read back.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its key.
    pub key: FrontendKey,
    /// The record it names.
    pub service: u32,
    /// The record's span; of a record that does not exist, empty.
    pub span: Span,
    /// The record's affinity.
    pub affinity_s: u32,
    /// The slots of the span, in their order. Fewer than `span.count` when the span leads out of the array.
    pub backends: Vec<Backend>,
}

impl Ledger {
    /// The book of maps that hold `found` and the affinity members `members`, and the steps that remove what makes no
    /// sense: frontends whose record is another's, members of no Service with affinity. To be taken before any other.
    pub fn adopt(capacity: Capacity, found: Vec<Found>, members: &BTreeSet<Member>) -> (Self, Steps) {
        let mut ledger = Self::new(capacity);
        let mut round = Round::default();
        let mut strays = members.clone();
        for found in found {
            if !ledger.records.reserve(&found.key, found.service) {
                round.gone_frontends.push((found.key, found.service));
                ledger.resting.frontends6 |= found.key.address.is_ipv6();
                continue;
            }
            let complete = found.backends.iter().all(|&b| members.contains(&(found.key, b)));
            let placed = ledger.place_found(&found, complete);
            if placed.affinity_s > 0 {
                for &backend in placed.backends() {
                    strays.remove(&(found.key, backend));
                }
                ledger.members += placed.backends().len();
            }
            ledger.frontends4 += usize::from(found.key.address.is_ipv4());
            ledger.placed.insert(found.key, placed);
        }
        round.gone_members = strays.into_iter().collect();
        (ledger, Steps { rounds: vec![round], full: Vec::new() })
    }

    /// What is wrong about a record is entered so that it differs from whatever is wanted, and is written anew.
    fn place_found(&mut self, found: &Found, members_complete: bool) -> Placed {
        let whole = found.backends.len() == found.span.count as usize && found.backends.is_sorted();
        let sound = whole && self.slots(family_of(&found.key)).reserve(found.span);
        Placed {
            service: found.service,
            span: if sound { found.span } else { Span::default() },
            backends: sound.then(|| found.backends.clone().into_boxed_slice()),
            affinity_s: if members_complete { found.affinity_s } else { 0 },
        }
    }
}
