//! The ordered steps of a change.

use std::collections::BTreeMap;

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
    /// IPv6 records to switch.
    pub records: Vec<Record>,
    /// How far lookups go from a line, by its place.
    pub reaches: BTreeMap<u32, u8>,
    /// IPv4 frontends, new or in another line than before; all filled before any is published.
    pub lines: Vec<Line>,
    /// New IPv6 frontends and their records.
    pub frontends: Vec<(FrontendKey, u32)>,
    /// Places of lines to take back.
    pub gone_lines: Vec<u32>,
    /// IPv6 frontends to remove.
    pub gone_frontends: Vec<FrontendKey>,
    /// Members to remove.
    pub gone_members: Vec<Member>,
}

/// That a backend is one of a frontend with session affinity.
pub type Member = (FrontendKey, Backend);

/// An IPv4 frontend at a place of the table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// Its place.
    pub place: u32,
    /// How far lookups go from it, unless [`Round::reaches`] says further.
    pub reach: u8,
    /// What clients connect to.
    pub key: FrontendKey,
    /// Where they are sent.
    pub leads: Leads,
}

/// Where a line leads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Leads {
    /// To backends in the line, [`keelson_ebpf_common::value::INLINE_MAX`] at most.
    Here(Box<[Backend]>),
    /// To slots.
    Slots {
        /// Which.
        span: Span,
        /// Session affinity in seconds, 0 for none.
        affinity_s: u32,
    },
}

/// The new content of an IPv6 record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Record {
    /// Its index.
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

    /// From `old`, if the frontend exists, to `new`. `reach` is that of the new line.
    pub(super) fn place(&mut self, key: &FrontendKey, old: Option<&Placed>, new: &Placed, reach: u8) {
        let round = self.round();
        if new.span.count > 0 && !old.is_some_and(|old| old.span == new.span) {
            round.slots.extend((new.span.first..).zip(new.backends().iter().copied()));
        }
        let (before, after) = (old.map_or(&[][..], members), members(new));
        round.members.extend(after.iter().filter(|b| !before.contains(b)).map(|&b| (*key, b)));
        round.gone_members.extend(before.iter().filter(|b| !after.contains(b)).map(|&b| (*key, b)));
        if key.address.is_ipv4() {
            round.lines.push(Line { place: new.service, reach, key: *key, leads: new.leads() });
            return;
        }
        round.records.push(Record { service: new.service, span: new.span, affinity_s: new.affinity_s });
        if old.is_none() {
            round.frontends.push((*key, new.service));
        }
    }

    /// The record and slots stay as they are: a program may still be on its way to them.
    pub(super) fn remove(&mut self, key: &FrontendKey, old: &Placed) {
        let round = self.round();
        if key.address.is_ipv4() {
            round.gone_lines.push(old.service);
        } else {
            round.gone_frontends.push(*key);
        }
        round.gone_members.extend(members(old).iter().map(|&b| (*key, b)));
    }

    pub(super) fn round(&mut self) -> &mut Round {
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
