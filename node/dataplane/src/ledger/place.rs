//! One frontend to where it is wanted: a line or record, slots if it needs them, and what it had before laid to rest.

use keelson_ebpf_common::value::{INLINE_MAX, Span};

use super::{Full, Ledger, Placed, Steps, family_of, members, table::Passage};
use crate::plan::{Family, Frontend, FrontendKey};

impl Ledger {
    pub(super) fn place(&mut self, frontend: &Frontend, steps: &mut Steps) -> Result<(), Full> {
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
        let family = family_of(&frontend.key);
        let same_span = old.as_ref().filter(|old| old.has(&frontend.backends)).map(|old| old.span);
        let span = match same_span {
            _ if fits_line(frontend) => Span::default(),
            Some(span) if span.count > 0 => span,
            _ => self.allocate(frontend, steps)?,
        };
        let service = match &old {
            Some(old) if family == Family::V6 => old.service,
            _ => self.new_record(frontend, old.as_ref().map(|old| old.service), steps).inspect_err(|_| {
                if Some(span) != same_span {
                    self.slots(family).give(span);
                }
            })?,
        };
        let placed = Placed {
            service,
            span,
            backends: Some(frontend.backends.clone().into_boxed_slice()),
            affinity_s: frontend.affinity_s,
        };
        let reach = if family == Family::V4 { self.records.reach(service) } else { 0 };
        steps.place(&frontend.key, old.as_ref(), &placed, reach);
        if let Some(old) = &old {
            self.leave(&frontend.key, old, &placed, steps);
        }
        steps.round().reaches.extend(self.records.take_raised());
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

    /// What a changed frontend had before and has no more.
    fn leave(&mut self, key: &FrontendKey, old: &Placed, new: &Placed, steps: &mut Steps) {
        let family = family_of(key);
        let span = if old.span == new.span { Span::default() } else { old.span };
        let passage = self.records.passage(key, old.service, new.service);
        if passage != Passage::Follows {
            self.outgoing.insert((*key, old.service), span);
            self.hides |= passage == Passage::Hidden;
            return;
        }
        if family == Family::V4 {
            steps.round().gone_lines.push(old.service);
            self.resting.records.push((family, old.service));
        }
        self.rest(family, span);
    }

    /// A record or line for a frontend that has none, or another line than the one at `old`.
    fn new_record(&mut self, frontend: &Frontend, old: Option<u32>, steps: &mut Steps) -> Result<u32, Full> {
        let moved = old.is_some();
        let is_v4 = frontend.key.address.is_ipv4();
        let (held, limit) = if is_v4 {
            (self.frontends4, self.capacity.frontends4)
        } else {
            (self.placed.len() - self.frontends4, self.capacity.frontends6)
        };
        let id = if moved || held < limit {
            let other = old.filter(|_| is_v4).and_then(|old| self.other_line(&frontend.key, old, steps));
            let take = |ledger: &mut Self| ledger.records.take(&frontend.key);
            other.or_else(|| take(self)).or_else(|| self.after_grace(steps, take))
        } else {
            None
        };
        let Some(id) = id else {
            // Below the limit only where more frontends than ever expected fall together in one part of the table.
            let crowded = moved || held < limit;
            let what = if crowded { "frontends (its part of the table is full)" } else { "frontends" };
            return Err(Full { frontend: frontend.key, what, wanted: 1, limit, at_any_scale: false });
        };
        if !is_v4 && self.all_resting().any(|resting| resting.frontends6) {
            self.grace(steps);
        }
        self.frontends4 += usize::from(is_v4 && !moved);
        Ok(id)
    }

    /// Another line for a frontend that has one at `old`.
    fn other_line(&mut self, key: &FrontendKey, old: u32, steps: &mut Steps) -> Option<u32> {
        let outgoing: Vec<u32> = self.outgoing_of(key).collect();
        let other = self.records.take_other(key, old, &outgoing);
        // Those near it rest, or its own go out, of which a lookup would find an old one first. For what rests once a change:
        // what many may wait for, they wait for together.
        let wait = other.is_none() && (steps.rounds.len() < 2 || !outgoing.is_empty());
        if wait {
            self.grace(steps);
            return self.records.take_other(key, old, &[]);
        }
        other
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
}

/// Whether the backends go to the frontend's own line.
fn fits_line(frontend: &Frontend) -> bool {
    frontend.key.address.is_ipv4()
        && frontend.affinity_s == 0
        && frontend.backends.len() <= INLINE_MAX as usize
}
