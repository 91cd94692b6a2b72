//! Frontends that are reached from outside, in their tables.
//!
//! A changed frontend gets new slots and a new table; its record is one word, stored at once, which names both. What programs may
//! still read (old slots and tables, the record of a removed frontend) is given to others only after a grace period. So every
//! change is: slots, tables, ranges and members, records, then the wait, then what is gone. Changes are rare and small beside
//! those inside. Where everything lies is decided in [`places`](super::places).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use keelson_ebpf_common::{
    key::{AffinityMember, Frontend4, Frontend6},
    layout,
    limits::EXTERNALS_MAX,
    net::{Address6, Port},
    packet::{ExternalTarget, Range},
    value::Backend6,
};
use keelson_sys::bpf::{GracePeriod, Map, SharedArray};
use zerocopy::{FromBytes, IntoBytes};

use super::{
    load::open,
    maglev,
    places::{self, DirectRule, Left, Placed, Places, frontend_key},
};
use crate::{
    Error,
    maps::pins::Pins,
    plan::{Backend, ExternalFrontend, FrontendKey},
};

/// Bytes that an element of an array of seconds takes: the kernel rounds up to eight.
const AFFINITY_BYTES: usize = 8;

/// The maps, and what this daemon has put into them.
#[derive(Debug)]
pub(super) struct Externals {
    frontends: Map,
    targets: SharedArray,
    affinity: SharedArray,
    tables: Map,
    backends: Map,
    members: Map,
    ranges: Map,
    /// Of the program on the wire, if there is one.
    wire: Option<Map>,
    rule: DirectRule,
    placed: Places,
    /// What the maps held when they were opened is known.
    adopted: bool,
}

impl Externals {
    pub(super) fn open(pins: &Pins, rule: DirectRule, with_wire: bool) -> Result<Self, Error> {
        Ok(Self {
            frontends: open(pins, &layout::EXTERNALS)?,
            targets: SharedArray::new(open(pins, &layout::EXTERNAL_TARGETS)?),
            affinity: SharedArray::new(open(pins, &layout::EXTERNAL_AFFINITY)?),
            tables: open(pins, &layout::MAGLEV)?,
            backends: open(pins, &layout::EXTERNAL_BACKENDS)?,
            members: open(pins, &layout::EXTERNAL_MEMBERS)?,
            ranges: open(pins, &layout::RANGES)?,
            wire: with_wire.then(|| open(pins, &layout::WIRE_FRONTENDS)).transpose()?,
            rule,
            placed: Places::default(),
            adopted: false,
        })
    }

    /// Where a frontend leads.
    pub(super) fn backends(&self, key: &FrontendKey) -> &[Backend] {
        self.placed.frontends.get(key).map_or(&[], |placed| placed.frontend.backends.as_slice())
    }

    /// Whether the program on the wire has anything to do.
    pub(super) fn any_on_wire(&self) -> bool {
        self.placed.frontends.values().any(|placed| placed.on_wire)
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
        let held = &self.placed.frontends;
        let unchanged = |frontend: &ExternalFrontend| {
            held.get(&frontend.key).is_some_and(|placed| placed.frontend == *frontend)
        };
        if self.adopted && wanted.len() == held.len() && wanted.iter().all(unchanged) {
            return Ok(Vec::new());
        }
        let left = if self.adopted { Left::new() } else { self.left_behind()? };
        let next = places::allocate(&self.placed, &left, wanted, &self.rule);
        if next.tables_full > 0 {
            let frontends = next.tables_full;
            tracing::warn!(
                frontends,
                "no room for a table: their backends are chosen by chance, each node by its own"
            );
        }
        self.write_backends(&next.frontends)?;
        self.write_tables(&next)?;
        let members = members(&next.frontends);
        for member in &members {
            self.members.update(member.as_bytes(), &[0])?;
        }
        // Ranges of a frontend before the record that asks for them.
        let ranges: BTreeSet<_> = next.frontends.values().flat_map(ranges).collect();
        for range in &ranges {
            self.ranges.update(range.as_bytes(), &[0])?;
        }
        for placed in next.frontends.values() {
            let number = placed.number as usize;
            self.affinity.store_u32(number * AFFINITY_BYTES, placed.frontend.affinity_s)?;
            self.targets.store_u64(number * size_of::<u64>(), placed.target().pack())?;
        }
        for (key, placed) in &next.frontends {
            let known = self.placed.frontends.contains_key(key) || left.contains_key(&frontend_key(key));
            if !known {
                self.frontends.update(frontend_key(key).as_bytes(), placed.number.as_bytes())?;
            }
        }
        self.write_wire(&next.frontends)?;
        let kept: BTreeSet<_> = next.frontends.keys().map(frontend_key).collect();
        for key in self.keys()?.into_iter().filter(|key| !kept.contains(key)) {
            self.frontends.delete(key.as_bytes())?;
        }
        // Then nobody reads old slots, records and elements any more, and the next change may use them.
        grace.wait()?;
        self.remove_members(&members)?;
        self.put_ranges(&ranges, |owner| owner != 0)?;
        let full = next.full.clone();
        (self.placed, self.adopted) = (next, true);
        Ok(full)
    }

    /// Those tables that are not there yet.
    fn write_tables(&self, next: &Places) -> Result<(), Error> {
        for (backends, table) in &next.tables {
            if self.placed.tables.get(backends) == Some(table) {
                continue;
            }
            let words = maglev::words(backends, *table);
            let places: Vec<u32> = (table.start..table.start + table.words()).collect();
            self.tables
                .update_batch(places.as_bytes(), words.as_bytes())
                .map_err(|source| Error::Batch { name: layout::MAGLEV.name, source })?;
        }
        Ok(())
    }

    /// Exactly those frontends that the program on the wire is to look after.
    fn write_wire(&self, next: &BTreeMap<FrontendKey, Placed>) -> Result<(), Error> {
        let Some(wire) = &self.wire else { return Ok(()) };
        let wanted: BTreeMap<Frontend4, u32> =
            next.values().filter_map(|placed| Some((placed.wire_key()?, placed.number))).collect();
        let entries = wire.entries()?;
        let keys = entries.keys.chunks_exact(size_of::<Frontend4>());
        let found: BTreeSet<_> = keys.filter_map(|bytes| Frontend4::read_from_bytes(bytes).ok()).collect();
        // A frontend has its number as long as it is there.
        for (key, number) in wanted.iter().filter(|(key, _)| !self.adopted || !found.contains(key)) {
            wire.update(key.as_bytes(), number.as_bytes())?;
        }
        for key in found.iter().filter(|key| !wanted.contains_key(key)) {
            wire.delete(key.as_bytes())?;
        }
        Ok(())
    }

    /// What an earlier daemon has put there: which number each frontend has. Its slots are not read: all are placed anew,
    /// behind those that its records name.
    fn left_behind(&mut self) -> Result<Left, Error> {
        let mut left = Left::new();
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

fn ranges(placed: &Placed) -> impl Iterator<Item = RangeBytes> {
    placed.frontend.source_ranges.iter().map(|range| range_key(placed.number + 1, range))
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

fn range_key(owner: u32, range: &IpNet) -> RangeBytes {
    let mapped = if range.addr().is_ipv4() { 96 } else { 0 };
    let address = match range.network() {
        IpAddr::V4(v4) => Address6::from_ip(v4.into()),
        IpAddr::V6(v6) => Address6::from_ip(v6.into()),
    };
    let bits = Range::OWNER_BITS + mapped + u32::from(range.prefix_len());
    zerocopy::transmute!(Range { bits, owner, address })
}
