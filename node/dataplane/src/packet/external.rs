//! Frontends that are reached from outside, in their tables.
//!
//! A changed frontend gets new slots; its record is one word, stored at once, which names them. What programs may still read
//! (old slots, the record of a removed frontend) is given to others only after a grace period. So every change is:
//! slots and ranges and members, records, then the wait, then what is gone. Changes are rare and small beside those inside.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use keelson_ebpf_common::{
    key::{AffinityMember, Frontend6},
    layout,
    limits::{EXTERNAL_BACKENDS_MAX, EXTERNAL_MEMBERS_MAX, EXTERNALS_MAX, RANGES_MAX},
    net::{Address6, Port},
    packet::{ExternalTarget, Range},
    value::Backend6,
};
use keelson_sys::bpf::{GracePeriod, Map, SharedArray};
use zerocopy::{FromBytes, IntoBytes};

use super::load::open;
use crate::{
    Error,
    maps::pins::Pins,
    plan::{Backend, ExternalFrontend, FrontendKey},
};

/// The maps, and what this daemon has put into them.
#[derive(Debug)]
pub(super) struct Externals {
    frontends: Map,
    targets: SharedArray,
    backends: Map,
    members: Map,
    ranges: Map,
    placed: BTreeMap<FrontendKey, Placed>,
    /// What the maps held when they were opened is known.
    adopted: bool,
}

#[derive(Clone, Debug)]
struct Placed {
    number: u32,
    first: u32,
    frontend: ExternalFrontend,
}

impl Externals {
    pub(super) fn open(pins: &Pins) -> Result<Self, Error> {
        Ok(Self {
            frontends: open(pins, &layout::EXTERNALS)?,
            targets: SharedArray::new(open(pins, &layout::EXTERNAL_TARGETS)?),
            backends: open(pins, &layout::EXTERNAL_BACKENDS)?,
            members: open(pins, &layout::EXTERNAL_MEMBERS)?,
            ranges: open(pins, &layout::RANGES)?,
            placed: BTreeMap::new(),
            adopted: false,
        })
    }

    /// Where a frontend leads.
    pub(super) fn backends(&self, key: &FrontendKey) -> &[Backend] {
        self.placed.get(key).map_or(&[], |placed| placed.frontend.backends.as_slice())
    }

    /// The ranges whose addresses pods reach as themselves: exactly these.
    pub(super) fn put_cluster_ranges(&self, ranges: &[IpNet]) -> Result<(), Error> {
        let wanted: BTreeSet<_> = ranges.iter().map(|range| range_key(0, range)).collect();
        self.put_ranges(&wanted, |owner| owner == 0)
    }

    /// Exactly these frontends. Those without room stay out, and are answered.
    pub(super) fn replace(
        &mut self,
        wanted: &[ExternalFrontend],
        grace: &GracePeriod,
    ) -> Result<Vec<FrontendKey>, Error> {
        let unchanged = |frontend: &ExternalFrontend| {
            self.placed.get(&frontend.key).is_some_and(|placed| placed.frontend == *frontend)
        };
        if self.adopted && wanted.len() == self.placed.len() && wanted.iter().all(unchanged) {
            return Ok(Vec::new());
        }
        let left = if self.adopted { BTreeMap::new() } else { self.left_behind()? };
        let (next, full) = allocate(&self.placed, &left, wanted);
        self.write_backends(&next)?;
        let members = members(&next);
        for member in &members {
            self.members.update(member.as_bytes(), &[0])?;
        }
        // Ranges of a frontend before the record that asks for them.
        let ranges: BTreeSet<_> = next.values().flat_map(Placed::ranges).collect();
        for range in &ranges {
            self.ranges.update(range.as_bytes(), &[0])?;
        }
        for placed in next.values() {
            self.targets.store_u64(placed.number as usize * size_of::<u64>(), placed.target().pack())?;
        }
        for (key, placed) in &next {
            let known = self.placed.contains_key(key) || left.contains_key(&frontend_key(key));
            if !known {
                self.frontends.update(frontend_key(key).as_bytes(), placed.number.as_bytes())?;
            }
        }
        let kept: BTreeSet<_> = next.keys().map(frontend_key).collect();
        for key in self.keys()?.into_iter().filter(|key| !kept.contains(key)) {
            self.frontends.delete(key.as_bytes())?;
        }
        // Then nobody reads old slots, records and elements any more, and the next change may use them.
        grace.wait()?;
        self.remove_members(&members)?;
        self.put_ranges(&ranges, |owner| owner != 0)?;
        (self.placed, self.adopted) = (next, true);
        Ok(full)
    }

    /// What an earlier daemon has put there: which number each frontend has. Its slots are not read: all are placed anew,
    /// behind those that its records name.
    fn left_behind(&mut self) -> Result<BTreeMap<Frontend6, (u32, ExternalTarget)>, Error> {
        let mut left = BTreeMap::new();
        for key in self.keys()? {
            let Some(number) = self.frontends.lookup(key.as_bytes())? else { continue };
            let number = u32::read_from_bytes(&number).unwrap_or(u32::MAX);
            if number < EXTERNALS_MAX {
                let target = self.targets.load_u64(number as usize * size_of::<u64>())?;
                left.insert(key, (number, ExternalTarget::unpack(target)));
            }
        }
        Ok(left)
    }

    fn keys(&self) -> Result<Vec<Frontend6>, Error> {
        let entries = self.frontends.entries()?;
        let keys = entries.keys.chunks_exact(size_of::<Frontend6>());
        Ok(keys.filter_map(|bytes| Frontend6::read_from_bytes(bytes).ok()).collect())
    }

    fn write_backends(&self, next: &BTreeMap<FrontendKey, Placed>) -> Result<(), Error> {
        let (mut slots, mut values) = (Vec::new(), Vec::new());
        for placed in next.values() {
            for (slot, backend) in (placed.first..).zip(&placed.frontend.backends) {
                slots.push(slot);
                let (address, port) = (Address6::from_ip(backend.ip()), Port::new(backend.port()));
                values.push(Backend6 { address, port, pad: 0 });
            }
        }
        self.backends
            .update_batch(slots.as_bytes(), values.as_bytes())
            .map_err(|source| Error::Batch { name: layout::EXTERNAL_BACKENDS.name, source })
    }

    fn remove_members(&self, kept: &BTreeSet<AffinityMember>) -> Result<(), Error> {
        let entries = self.members.entries()?;
        let found = entries.keys.chunks_exact(size_of::<AffinityMember>());
        for member in found.filter_map(|bytes| AffinityMember::read_from_bytes(bytes).ok()) {
            if !kept.contains(&member) {
                self.members.delete(member.as_bytes())?;
            }
        }
        Ok(())
    }

    /// Exactly these ranges, of those whose owner is meant.
    fn put_ranges(&self, wanted: &BTreeSet<RangeBytes>, meant: impl Fn(u32) -> bool) -> Result<(), Error> {
        for range in wanted {
            self.ranges.update(range, &[0])?;
        }
        for found in self.ranges.keys(usize::MAX)? {
            let owner = Range::read_from_bytes(&found).map(|range| range.owner);
            if owner.is_ok_and(&meant) && !wanted.contains(found.as_slice()) {
                self.ranges.delete(&found)?;
            }
        }
        Ok(())
    }
}

/// A [`Range`] as a key.
type RangeBytes = [u8; size_of::<Range>()];

impl Placed {
    fn target(&self) -> ExternalTarget {
        ExternalTarget {
            first: self.first,
            count: self.frontend.backends.len() as u32,
            affinity_s: self.frontend.affinity_s,
            local_only: self.frontend.local_backends_only,
            ranged: !self.frontend.source_ranges.is_empty(),
        }
    }

    fn ranges(&self) -> impl Iterator<Item = RangeBytes> {
        self.frontend.source_ranges.iter().map(|range| range_key(self.number + 1, range))
    }
}

/// Numbers and slots for all that is wanted. A frontend keeps its number, and its slots while its backends are the same; no
/// slot is given that is in use now. Pure.
fn allocate(
    placed: &BTreeMap<FrontendKey, Placed>,
    left: &BTreeMap<Frontend6, (u32, ExternalTarget)>,
    wanted: &[ExternalFrontend],
) -> (BTreeMap<FrontendKey, Placed>, Vec<FrontendKey>) {
    let mut numbers: BTreeSet<u32> =
        placed.values().map(|p| p.number).chain(left.values().map(|(number, _)| *number)).collect();
    // Runs of slots that are read now: start and end.
    let mut taken: BTreeMap<u32, u32> = placed
        .values()
        .map(Placed::target)
        .chain(left.values().map(|(_, target)| *target))
        .filter(|target| target.count > 0)
        .map(|target| (target.first, target.first + target.count))
        .collect();
    let (mut next, mut full) = (BTreeMap::new(), Vec::new());
    let (mut members_left, mut ranges_left) = (EXTERNAL_MEMBERS_MAX as usize, RANGES_MAX as usize / 2);
    for frontend in wanted {
        let old = placed.get(&frontend.key);
        let number = old
            .map(|old| old.number)
            .or_else(|| left.get(&frontend_key(&frontend.key)).map(|(number, _)| *number))
            .or_else(|| (0..EXTERNALS_MAX).find(|number| !numbers.contains(number)));
        let same = old.filter(|old| old.frontend.backends == frontend.backends);
        let count = frontend.backends.len() as u32;
        let first = same.map(|old| old.first).or_else(|| free_run(&taken, count));
        let members = if frontend.affinity_s > 0 { frontend.backends.len() } else { 0 };
        let fits = members <= members_left && frontend.source_ranges.len() <= ranges_left && count < 1 << 16;
        let (Some(number), Some(first), true) = (number, first, fits) else {
            full.push(frontend.key);
            continue;
        };
        members_left -= members;
        ranges_left -= frontend.source_ranges.len();
        numbers.insert(number);
        if count > 0 {
            taken.insert(first, first + count);
        }
        next.insert(frontend.key, Placed { number, first, frontend: frontend.clone() });
    }
    (next, full)
}

/// The first run of so many free slots.
fn free_run(taken: &BTreeMap<u32, u32>, count: u32) -> Option<u32> {
    let mut start = 0;
    for (&first, &end) in taken {
        if first.saturating_sub(start) >= count {
            break;
        }
        start = start.max(end);
    }
    (start + count <= EXTERNAL_BACKENDS_MAX).then_some(start)
}

fn members(next: &BTreeMap<FrontendKey, Placed>) -> BTreeSet<AffinityMember> {
    let held = next.values().filter(|placed| placed.frontend.affinity_s > 0);
    held.flat_map(|placed| {
        let frontend = frontend_key(&placed.frontend.key);
        placed.frontend.backends.iter().map(move |backend| AffinityMember {
            frontend,
            address: Address6::from_ip(backend.ip()),
            port: Port::new(backend.port()),
            pad: 0,
        })
    })
    .collect()
}

/// IPv4 in mapped form.
fn frontend_key(key: &FrontendKey) -> Frontend6 {
    Frontend6 {
        address: Address6::from_ip(key.address),
        port: Port::new(key.port),
        protocol: key.protocol as u8,
        pad: 0,
    }
}

fn range_key(owner: u32, range: &IpNet) -> RangeBytes {
    let mapped = if range.addr().is_ipv4() { 96 } else { 0 };
    let address = match range.network() {
        IpAddr::V4(v4) => Address6::from_ip(v4.into()),
        IpAddr::V6(v6) => Address6::from_ip(v6.into()),
    };
    let bits = Range::OWNER_BITS + mapped + u32::from(range.prefix_len());
    zerocopy::transmute!(Range { bits, owner, address })
}

#[cfg(test)]
mod tests {
    use keelson_ebpf_common::net::Protocol;

    use super::*;

    fn frontend(port: u16, backends: &[&str]) -> ExternalFrontend {
        ExternalFrontend {
            key: FrontendKey { address: "192.0.2.1".parse().unwrap(), port, protocol: Protocol::Tcp },
            backends: backends.iter().map(|b| b.parse().unwrap()).collect(),
            local_backends_only: false,
            source_ranges: Vec::new(),
            affinity_s: 0,
        }
    }

    #[test]
    fn slots_in_use_are_given_to_nobody_else() {
        let (first, _) = allocate(
            &BTreeMap::new(),
            &BTreeMap::new(),
            &[frontend(1, &["10.0.0.1:1", "10.0.0.2:1"]), frontend(2, &["10.0.0.3:1"])],
        );
        // One changes, one goes, one comes.
        let wanted = [frontend(1, &["10.0.0.9:1"]), frontend(3, &["10.0.0.4:1", "10.0.0.5:1"])];
        let (next, full) = allocate(&first, &BTreeMap::new(), &wanted);
        assert!(full.is_empty());
        let slots = |placed: &Placed| placed.first..placed.first + placed.frontend.backends.len() as u32;
        for new in next.values() {
            for old in first.values().filter(|old| old.frontend != new.frontend) {
                assert!(slots(new).end <= slots(old).start || slots(old).end <= slots(new).start);
            }
        }
        assert_eq!(next[&wanted[0].key].number, first[&wanted[0].key].number);
        // What did not change stays where it is.
        let (again, _) = allocate(&next, &BTreeMap::new(), &wanted);
        assert!(again.iter().all(|(key, placed)| placed.first == next[key].first));
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let backends: Vec<String> =
            (0..40_000_u32).map(|n| format!("10.{}.{}.1:80", n >> 8, n & 255)).collect();
        let backends: Vec<&str> = backends.iter().map(String::as_str).collect();
        let wanted = [frontend(1, &backends), frontend(2, &backends), frontend(3, &["10.0.0.1:1"])];
        let (next, full) = allocate(&BTreeMap::new(), &BTreeMap::new(), &wanted);
        assert_eq!((next.len(), full), (2, vec![wanted[1].key]));
    }
}
