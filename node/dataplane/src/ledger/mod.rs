//! What the kernel holds, and the ordered steps from there to what is wanted. Pure: no system call.
//!
//! A change never takes a client to a wrong backend or leaves it without one:
//! ```text
//!  1 grace      only if something removed earlier might still be read and is needed again now
//!  2 slots      the new backends, where no record points yet
//!  3 members    (affinity) a backend counts as the Service's before it can be chosen
//!  4 records    one word a record: the switch
//!  5 frontends  new ones, whose records are complete
//!  6 gone       frontends, then members; their records and slots rest until a grace period has passed
//! ```
//! A ledger is changed when a step list is made: if a step then fails, the ledger is wrong and must be made anew from
//! the kernel ([`Ledger::adopt`]).

mod adopt;
mod ids;
mod records;
mod slots;
mod steps;
mod table;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use keelson_ebpf_common::{limits, value::Span};

pub use adopt::Found;
use records::Records;
use slots::Slots;
use steps::members;
pub use steps::{Member, Record, Round, Steps};

use crate::plan::{Backend, Family, Frontend, FrontendKey};

/// Sizes of the maps that are divided here. Those of [`limits`] at some scale, except in tests.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Buckets of the table of IPv4 frontends, as a power of two.
    pub buckets4_log2: u32,
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
            buckets4_log2: limits::buckets4_log2(scale),
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
        let fits =
            |&scale: &u32| Ledger::new(Self::at(scale)).replace(wanted).full.iter().all(|f| f.at_any_scale);
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
    service: u32,
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
}

/// What a program that started earlier may still read.
#[derive(Debug, Default)]
struct Resting {
    ids: Vec<u32>,
    spans: Vec<(Family, Span)>,
    /// Memory of a removed IPv6 frontend, which the kernel's hash may give to the next one at once.
    frontends6: bool,
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
        steps
    }

    fn place(&mut self, frontend: &Frontend, steps: &mut Steps) -> Result<(), Full> {
        let old = self.placed.get(&frontend.key);
        if let Some(old) = old
            && old.has(&frontend.backends)
            && old.affinity_s == frontend.affinity_s
        {
            return Ok(());
        }
        let old = old.cloned();
        let members_held = self.members - old.as_ref().map_or(0, |old| members(old).len());
        let members_wanted = if frontend.affinity_s > 0 { frontend.backends.len() } else { 0 };
        self.room_for_members(frontend, members_held + members_wanted)?;
        let same_backends = old.as_ref().is_some_and(|old| old.has(&frontend.backends));
        let span = match &old {
            Some(old) if same_backends => old.span,
            _ => self.allocate(frontend, steps)?,
        };
        let service = match &old {
            Some(old) => old.service,
            None => self.new_record(frontend, span, steps)?,
        };
        let placed = Placed {
            service,
            span,
            backends: Some(frontend.backends.clone().into_boxed_slice()),
            affinity_s: frontend.affinity_s,
        };
        steps.place(&frontend.key, old.as_ref(), &placed);
        if let Some(old) = &old
            && !same_backends
        {
            self.rest(family_of(&frontend.key), old.span);
        }
        self.placed.insert(frontend.key, placed);
        self.members = members_held + members_wanted;
        Ok(())
    }

    fn room_for_members(&self, frontend: &Frontend, wanted: usize) -> Result<(), Full> {
        let limit = self.capacity.members;
        let what = "backends with session affinity";
        let full = Full { frontend: frontend.key, what, wanted, limit, at_any_scale: false };
        if wanted > limit { Err(full) } else { Ok(()) }
    }

    /// A record for a frontend that has none. Gives the span back when there is no room.
    fn new_record(&mut self, frontend: &Frontend, span: Span, steps: &mut Steps) -> Result<u32, Full> {
        let is_v4 = frontend.key.address.is_ipv4();
        let (held, limit) = if is_v4 {
            (self.frontends4, self.capacity.frontends4)
        } else {
            (self.placed.len() - self.frontends4, self.capacity.frontends6)
        };
        let id = if held < limit {
            self.records
                .take(&frontend.key)
                .or_else(|| self.after_grace(steps, |l| l.records.take(&frontend.key)))
        } else {
            None
        };
        let Some(id) = id else {
            self.slots(family_of(&frontend.key)).give(span);
            // Below the limit only where more frontends than ever expected fall together in one part of the table.
            let what = if held < limit { "frontends (its part of the table is full)" } else { "frontends" };
            return Err(Full { frontend: frontend.key, what, wanted: 1, limit, at_any_scale: false });
        };
        if self.resting.frontends6 && !is_v4 {
            self.grace(steps);
        }
        self.frontends4 += usize::from(is_v4);
        Ok(id)
    }

    fn allocate(&mut self, frontend: &Frontend, steps: &mut Steps) -> Result<Span, Full> {
        let (family, wanted) = (family_of(&frontend.key), frontend.backends.len());
        let full =
            |what, limit, at_any_scale| Full { frontend: frontend.key, what, wanted, limit, at_any_scale };
        if wanted > self.capacity.per_service {
            return Err(full("backends of one Service", self.capacity.per_service, true));
        }
        let count = wanted as u32;
        let span = self
            .slots(family)
            .take(count)
            .or_else(|| self.after_grace(steps, |l| l.slots(family).take(count)));
        span.ok_or_else(|| full("backend slots", self.slots(family).capacity() as usize, false))
    }

    fn remove(&mut self, key: &FrontendKey, steps: &mut Steps) {
        let Some(old) = self.placed.remove(key) else { return };
        self.frontends4 -= usize::from(key.address.is_ipv4());
        self.members -= members(&old).len();
        steps.remove(key, &old);
        self.rest(family_of(key), old.span);
        self.resting.ids.push(old.service);
        self.resting.frontends6 |= key.address.is_ipv6();
    }

    fn rest(&mut self, family: Family, span: Span) {
        if span.count > 0 {
            self.resting.spans.push((family, span));
        }
    }

    /// Tries again after what rests is free, if that can help.
    fn after_grace<T>(&mut self, steps: &mut Steps, retry: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        if self.resting.ids.is_empty() && self.resting.spans.is_empty() {
            return None;
        }
        self.grace(steps);
        retry(self)
    }

    /// Puts a grace period before the steps and frees what rested.
    ///
    /// What rests was replaced or removed by *earlier* step lists, or by earlier frontends of this one: then the steps
    /// so far must be taken before the wait, so they are closed off as a part of their own.
    fn grace(&mut self, steps: &mut Steps) {
        steps.wait();
        let resting = std::mem::take(&mut self.resting);
        for id in resting.ids {
            self.records.give(id);
        }
        for (family, span) in resting.spans {
            self.slots(family).give(span);
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
