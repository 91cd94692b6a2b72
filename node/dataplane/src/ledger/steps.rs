//! The ordered steps of a change.

use keelson_ebpf_common::value::Span;

use super::{Full, Placed};
use crate::plan::{Backend, FrontendKey};

/// A change: rounds with a grace period between one and the next, and what could not be done.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Steps {
    /// Taken one after another; before each but the first, a grace period.
    pub rounds: Vec<Round>,
    /// Frontends that stay as they were, for want of room.
    pub full: Vec<Full>,
}

/// Steps without a grace period between them, to be taken in the order of the fields.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Round {
    /// Slots to fill; the family is the backend's.
    pub slots: Vec<(u32, Backend)>,
    /// Backends that affinity may hold clients to.
    pub members: Vec<Member>,
    /// Records to switch.
    pub records: Vec<Record>,
    /// New frontends and their records.
    pub frontends: Vec<(FrontendKey, u32)>,
    /// Frontends to remove, and the records they had.
    pub gone_frontends: Vec<(FrontendKey, u32)>,
    /// Members to remove.
    pub gone_members: Vec<Member>,
}

/// That a backend is one of a frontend with session affinity.
pub type Member = (FrontendKey, Backend);

/// The new content of a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Record {
    /// Its number.
    pub service: u32,
    /// Its backends' slots.
    pub span: Span,
    /// Session affinity in seconds, 0 for none.
    pub affinity_s: u32,
}

impl Steps {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.rounds.iter().all(|round| *round == Round::default())
    }

    /// Everything so far, then a grace period, then what follows.
    pub(super) fn wait(&mut self) {
        if self.rounds.is_empty() {
            self.rounds.push(Round::default());
        }
        self.rounds.push(Round::default());
    }

    /// From `old`, if the frontend exists, to `new`.
    pub(super) fn place(&mut self, key: &FrontendKey, old: Option<&Placed>, new: &Placed) {
        let round = self.round();
        if !old.is_some_and(|old| old.span == new.span && old.has(new.backends())) {
            round.slots.extend((new.span.first..).zip(new.backends().iter().copied()));
        }
        let (before, after) = (old.map_or(&[][..], members), members(new));
        round.members.extend(after.iter().filter(|b| !before.contains(b)).map(|&b| (*key, b)));
        round.gone_members.extend(before.iter().filter(|b| !after.contains(b)).map(|&b| (*key, b)));
        round.records.push(Record { service: new.service, span: new.span, affinity_s: new.affinity_s });
        if old.is_none() {
            round.frontends.push((*key, new.service));
        }
    }

    /// The record and slots stay as they are: a program may still be on its way to them.
    pub(super) fn remove(&mut self, key: &FrontendKey, old: &Placed) {
        let round = self.round();
        round.gone_frontends.push((*key, old.service));
        round.gone_members.extend(members(old).iter().map(|&b| (*key, b)));
    }

    fn round(&mut self) -> &mut Round {
        if self.rounds.is_empty() {
            self.rounds.push(Round::default());
        }
        self.rounds.last_mut().expect("one was just pushed")
    }
}

/// Backends that need an entry in the table of members.
pub(super) fn members(placed: &Placed) -> &[Backend] {
    if placed.affinity_s > 0 { placed.backends() } else { &[] }
}
