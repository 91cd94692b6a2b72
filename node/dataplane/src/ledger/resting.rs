//! What a program that started earlier may still read: it rests until a grace period has passed.

use std::collections::BTreeMap;

use keelson_ebpf_common::value::Span;

use super::{Ledger, Steps};
use crate::plan::{Family, FrontendKey};

/// First lines of frontends that have a second, to be taken back after a grace period: their places, and their slots.
pub(super) type Outgoing = BTreeMap<(FrontendKey, u32), Span>;

/// What [`Ledger::begin_settling`] found.
#[derive(Debug)]
pub(super) struct Begun {
    /// The number that it was given.
    number: u64,
    resting: Resting,
    pub(super) outgoing: Outgoing,
}

/// What a program that started earlier may still read.
#[derive(Debug, Default)]
pub(super) struct Resting {
    pub(super) records: Vec<(Family, u32)>,
    pub(super) spans: Vec<(Family, Span)>,
    /// Memory of a removed IPv6 frontend, which the kernel's hash may give to the next one at once.
    pub(super) frontends6: bool,
}

impl Resting {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.spans.is_empty() && !self.frontends6
    }
}

impl Ledger {
    /// Whether something rests that a grace period would free, or goes out after one. If so, the caller waits for one that
    /// begins after this call and then calls [`Self::settle`] with the same number, which no other call has; changes may be made
    /// meanwhile. Then later ones need not wait. Not more than one at a time.
    pub fn begin_settling(&mut self, number: u64) -> bool {
        let nothing = self.resting.is_empty() && self.outgoing.is_empty() && !self.records.has_raised();
        if nothing || self.settling.is_some() {
            return false;
        }
        let (resting, outgoing) = (std::mem::take(&mut self.resting), std::mem::take(&mut self.outgoing));
        self.settling = Some(Begun { number, resting, outgoing });
        self.records.begin_settling();
        true
    }

    /// Frees what rested at the call with this number, unless a change has waited for itself since. The steps take back what was
    /// to go out then.
    pub fn settle(&mut self, number: u64) -> Steps {
        let mut steps = Steps::default();
        if let Some(begun) = self.settling.take_if(|begun| begun.number == number) {
            self.records.settle_begun();
            self.give(begun.resting);
            self.withdraw(begun.outgoing, &mut steps);
        }
        steps
    }

    /// Takes lines back that lookups need no more.
    pub(super) fn withdraw(&mut self, outgoing: Outgoing, steps: &mut Steps) {
        for ((_, place), span) in outgoing {
            steps.round().gone_lines.push(place);
            self.resting.records.push((Family::V4, place));
            self.rest(Family::V4, span);
        }
    }

    /// Places of lines of a frontend that go out.
    pub(super) fn outgoing_of(&self, key: &FrontendKey) -> impl Iterator<Item = u32> {
        let begun = self.settling.iter().map(|begun| &begun.outgoing);
        begun
            .chain([&self.outgoing])
            .flat_map(|all| all.range((*key, 0)..=(*key, u32::MAX)))
            .map(|((_, place), _)| *place)
    }

    /// Tries again after what rests is free, if that can help.
    pub(super) fn after_grace<T>(
        &mut self,
        steps: &mut Steps,
        retry: impl Fn(&mut Self) -> Option<T>,
    ) -> Option<T> {
        // Lines that go after one grace period are free after the next.
        let begun = self.settling.as_ref().map(|begun| &begun.outgoing);
        let graces = if [&self.outgoing].into_iter().chain(begun).any(|outgoing| !outgoing.is_empty()) {
            2
        } else {
            usize::from(self.all_resting().any(|r| !r.records.is_empty() || !r.spans.is_empty()))
        };
        (0..graces).find_map(|_| {
            self.grace(steps);
            retry(self)
        })
    }

    /// Puts a grace period before the steps and frees what rested.
    ///
    /// What rests was replaced or removed by *earlier* step lists, or by earlier frontends of this one: then the steps
    /// so far must be taken before the wait, so they are closed off as a part of their own.
    pub(super) fn grace(&mut self, steps: &mut Steps) {
        steps.wait();
        self.records.settle();
        self.hides = false;
        let (mut resting, mut outgoing) =
            (vec![std::mem::take(&mut self.resting)], std::mem::take(&mut self.outgoing));
        if let Some(begun) = self.settling.take() {
            resting.push(begun.resting);
            outgoing.extend(begun.outgoing);
        }
        resting.into_iter().for_each(|resting| self.give(resting));
        self.withdraw(outgoing, steps);
    }

    fn give(&mut self, resting: Resting) {
        for (family, record) in resting.records {
            self.records.give(family, record);
        }
        for (family, span) in resting.spans {
            self.slots(family).give(span);
        }
    }

    pub(super) fn all_resting(&self) -> impl Iterator<Item = &Resting> {
        self.settling.iter().map(|begun| &begun.resting).chain([&self.resting])
    }
}
