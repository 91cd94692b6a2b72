//! What the kernel holds, and the ordered steps from there to what is wanted. Pure: no system call.
//!
//! A change never takes a client to a wrong backend or leaves it without one:
//! ```text
//!  1 grace      only if something removed earlier might still be read and is needed again now
//!  2 slots      the new backends, where no record points yet
//!  3 members    (affinity) a backend counts as the Service's before it can be chosen
//!  4 records    of IPv6, one word each: the switch
//!  5 lines      of IPv4, filled where none is read, then published: a new frontend, or a second line of one that changes
//!  6 frontends  of IPv6, new ones, whose records are complete
//!  7 gone       lines, frontends, then members; what they named rests until a grace period has passed
//! ```
//! Where a lookup could miss both lines of a frontend that changes, having passed the new one before and reaching the old one
//! after, a grace period lies between 5 and the line's part of 7. The new line is the nearer one then: lookups that begin
//! find it first, so that nobody has to wait, and the old one goes out when the grace period has passed.
//!
//! What goes out, and what rests, is seen to by whoever has time to wait ([`Ledger::begin_settling`]); a change that needs
//! it before waits itself.
//!
//! A ledger is changed when a step list is made: if a step then fails, the ledger is wrong and must be made anew from
//! the kernel ([`Ledger::adopt`]).

mod adopt;
mod ids;
mod place;
mod records;
mod resting;
mod slots;
mod steps;
mod table;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use keelson_ebpf_common::{limits, value::Span};

pub use adopt::{Found, FoundAll};
use records::Records;
use resting::{Begun, Outgoing, Resting};
use slots::Slots;
use steps::members;
pub use steps::{Leads, Line, Member, Record, Round, Steps};

use crate::plan::{Backend, Family, Frontend, FrontendKey};

/// Sizes of the maps that are divided here. Those of [`limits`] at some scale, except in tests.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Shards of the table of IPv4 frontends, as a power of two.
    pub shards4_log2: u32,
    /// Lines of a shard.
    pub shard_lines: u32,
    /// IPv4 backend slots, a power of two.
    pub backends4: u32,
    /// IPv6 backend slots, a power of two.
    pub backends6: u32,
    /// Frontends of IPv4.
    pub frontends4: usize,
    /// Frontends of IPv6.
    pub frontends6: usize,
    /// Backends of one Service, a power of two.
    pub per_service: usize,
    /// Backends of Services with session affinity.
    pub members: usize,
}

impl Capacity {
    /// That of the maps at a scale.
    pub fn at(scale: u32) -> Self {
        let at_scale = |entries_max| limits::at_scale(entries_max, scale);
        Self {
            shards4_log2: limits::shards4_log2(scale),
            shard_lines: limits::SHARD_LINES,
            backends4: at_scale(limits::BACKENDS4_MAX),
            backends6: at_scale(limits::BACKENDS6_MAX),
            frontends4: limits::frontends4(scale) as usize,
            frontends6: at_scale(limits::FRONTENDS6_MAX) as usize,
            per_service: limits::BACKENDS_PER_SERVICE_MAX as usize,
            members: at_scale(limits::AFFINITY_MEMBERS_MAX) as usize / 2,
        }
    }

    /// The smallest scale, from `scale` on, at which all of it fits; the largest if none does.
    pub fn scale_for(wanted: &[Frontend], scale: u32) -> u32 {
        let frontends4 = wanted.iter().filter(|frontend| frontend.key.address.is_ipv4()).count();
        let fits = |&scale: &u32| {
            let capacity = Self::at(scale);
            frontends4 <= capacity.frontends4
                && Ledger::new(capacity).replace(wanted).full.iter().all(|full| full.at_any_scale)
        };
        (scale..limits::SCALE_MAX).find(fits).unwrap_or(limits::SCALE_MAX)
    }
}

/// A frontend that could not be given what it asks for: it stays as it was.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{frontend}: no room for {wanted} {what}, of which the limit is {limit}")]
pub struct Full {
    /// The frontend.
    pub frontend: FrontendKey,
    /// What ran out.
    pub what: &'static str,
    /// How many it needs.
    pub wanted: usize,
    /// The named maximum.
    pub limit: usize,
    /// Larger tables would not help.
    pub at_any_scale: bool,
}

/// A frontend as the kernel has it.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Placed {
    /// The place of its line, or the index of its record.
    service: u32,
    /// Empty when the backends are in the line.
    span: Span,
    /// `None` when the slots found at adoption made no sense: equal to nothing, so they are placed anew.
    backends: Option<Box<[Backend]>>,
    affinity_s: u32,
}

impl Placed {
    fn backends(&self) -> &[Backend] {
        self.backends.as_deref().unwrap_or_default()
    }

    fn has(&self, backends: &[Backend]) -> bool {
        self.backends.as_deref() == Some(backends)
    }

    fn leads(&self) -> Leads {
        if self.span.count == 0 && self.affinity_s == 0 {
            Leads::Here(self.backends().into())
        } else {
            Leads::Slots { span: self.span, affinity_s: self.affinity_s }
        }
    }
}

/// The book of records and slots.
#[derive(Debug)]
pub struct Ledger {
    capacity: Capacity,
    placed: BTreeMap<FrontendKey, Placed>,
    frontends4: usize,
    /// Entries of the table of members.
    members: usize,
    records: Records,
    slots4: Slots,
    slots6: Slots,
    resting: Resting,
    outgoing: Outgoing,
    /// Some line that goes out is found before the one that replaces it: the change is made when it is gone.
    hides: bool,
    settling: Option<Begun>,
}

impl Ledger {
    /// The book of empty maps.
    pub fn new(capacity: Capacity) -> Self {
        Self {
            capacity,
            placed: BTreeMap::new(),
            frontends4: 0,
            members: 0,
            records: Records::new(&capacity),
            slots4: Slots::new(capacity.backends4),
            slots6: Slots::new(capacity.backends6),
            resting: Resting::default(),
            outgoing: Outgoing::new(),
            hides: false,
            settling: None,
        }
    }

    /// Frontends in the kernel.
    pub fn frontends(&self) -> usize {
        self.placed.len()
    }

    /// Backends in the kernel, over all frontends.
    pub fn backends(&self) -> usize {
        self.placed.values().map(|placed| placed.backends().len()).sum()
    }

    /// What the kernel holds, as it was wanted; without frontends that adoption found wrong.
    pub fn content(&self) -> impl Iterator<Item = Frontend> {
        self.placed.iter().filter_map(|(&key, placed)| {
            let backends = placed.backends.as_ref()?.to_vec();
            Some(Frontend { key, backends, affinity_s: placed.affinity_s })
        })
    }

    /// One frontend, as [`Self::content`] has it.
    pub fn frontend(&self, key: &FrontendKey) -> Option<Frontend> {
        let placed = self.placed.get(key)?;
        let backends = placed.backends.as_ref()?.to_vec();
        Some(Frontend { key: *key, backends, affinity_s: placed.affinity_s })
    }

    /// The steps after which exactly `wanted` is in the kernel.
    pub fn replace(&mut self, wanted: &[Frontend]) -> Steps {
        let keep: BTreeSet<_> = wanted.iter().map(|frontend| frontend.key).collect();
        let gone: Vec<_> = self.placed.keys().filter(|key| !keep.contains(key)).copied().collect();
        self.change(&gone, wanted)
    }

    /// The steps after which `gone` is not in the kernel, `wanted` is, and everything else is as before.
    pub fn change(&mut self, gone: &[FrontendKey], wanted: &[Frontend]) -> Steps {
        let mut steps = Steps::default();
        for frontend in wanted {
            if let Err(full) = self.place(frontend, &mut steps) {
                steps.full.push(full);
            }
        }
        for key in gone {
            self.remove(key, &mut steps);
        }
        if self.hides {
            self.grace(&mut steps);
        }
        steps
    }

    fn remove(&mut self, key: &FrontendKey, steps: &mut Steps) {
        let Some(old) = self.placed.remove(key) else { return };
        // First, or for a moment they would be what lookups find.
        let of_key = (*key, 0)..=(*key, u32::MAX);
        let begun = self.settling.as_mut().map(|begun| &mut begun.outgoing);
        let outgoing: Outgoing = begun
            .into_iter()
            .chain([&mut self.outgoing])
            .flat_map(|all| all.extract_if(of_key.clone(), |_, _| true).collect::<Vec<_>>())
            .collect();
        self.withdraw(outgoing, steps);
        self.frontends4 -= usize::from(key.address.is_ipv4());
        self.members -= members(&old).len();
        steps.remove(key, &old);
        self.rest(family_of(key), old.span);
        self.resting.records.push((family_of(key), old.service));
        self.resting.frontends6 |= key.address.is_ipv6();
    }

    fn rest(&mut self, family: Family, span: Span) {
        if span.count > 0 {
            self.resting.spans.push((family, span));
        }
    }

    fn slots(&mut self, family: Family) -> &mut Slots {
        match family {
            Family::V4 => &mut self.slots4,
            Family::V6 => &mut self.slots6,
        }
    }
}

fn family_of(key: &FrontendKey) -> Family {
    if key.address.is_ipv4() { Family::V4 } else { Family::V6 }
}
