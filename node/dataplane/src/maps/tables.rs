//! The maps by name: elements in and out, a round of steps at a time.

use std::{collections::BTreeSet, net::IpAddr};

use keelson_ebpf_common::{
    drop::Reason,
    key,
    layout::{self, Shape},
    limits,
    net::{Address4, Address6, Port},
    value::{self, BUCKET_ENTRIES, RECORD6, Target},
};
use keelson_sys::bpf::{Map, SharedArray};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::pins::Pins;
use crate::{
    Error,
    encode::{KernelKey, frontend_key, member_key, user_key, user_member},
    ledger::{Found, Member, Round},
    plan::{Backend, FrontendKey},
};

/// The open maps of the socket programs.
#[derive(Debug)]
pub(super) struct Tables {
    frontends4: SharedArray,
    frontends6: Map,
    records6: SharedArray,
    backends4: Map,
    backends6: Map,
    members: Map,
    drops: Map,
    scale: u32,
    /// Maps that only programs write: held for their memory figures.
    state: Vec<(&'static str, Map)>,
}

/// What is in the kernel: frontends, and the members of Services with affinity.
pub(super) type ReadBack = (Vec<Found>, BTreeSet<Member>);

const ENTRY: usize = size_of::<value::Entry4>();
const ENTRY_TARGET: usize = core::mem::offset_of!(value::Entry4, target);

impl Tables {
    /// Opens the pins that loading the programs has made.
    pub(super) fn open(pins: &Pins) -> Result<Self, Error> {
        let open = |shape: &Shape| {
            let map = Map::open_pinned(&pins.map(shape))?;
            map.ok_or(Error::Missing { what: "map", name: shape.name })
        };
        let state = [layout::CONNECTIONS, layout::CONNECTIONS_SPILLED, layout::DATAGRAMS, layout::AFFINITY];
        Ok(Self {
            frontends4: SharedArray::new(open(&layout::FRONTENDS4)?),
            frontends6: open(&layout::FRONTENDS6)?,
            records6: SharedArray::new(open(&layout::RECORDS6)?),
            backends4: open(&layout::BACKENDS4)?,
            backends6: open(&layout::BACKENDS6)?,
            members: open(&layout::AFFINITY_MEMBERS)?,
            drops: open(&layout::DROPS)?,
            scale: pins.scale(),
            state: state.iter().map(|shape| Ok((shape.name, open(shape)?))).collect::<Result<_, Error>>()?,
        })
    }

    /// Takes the steps of a round, in their order.
    pub(super) fn take(&mut self, round: &Round) -> Result<(), Error> {
        self.fill_slots(&round.slots)?;
        let members: Vec<_> = round.members.iter().map(member_key).collect();
        write(&self.members, &layout::AFFINITY_MEMBERS, &members, &vec![0_u8; members.len()])?;
        for record in &round.records {
            self.store_target(record.service, Target { span: record.span, affinity_s: record.affinity_s })?;
        }
        self.add_frontends(&round.frontends)?;
        self.remove_frontends(&round.gone_frontends)?;
        let gone: Vec<_> = round.gone_members.iter().map(member_key).collect();
        remove(&self.members, &layout::AFFINITY_MEMBERS, &gone)
    }

    fn fill_slots(&self, slots: &[(u32, Backend)]) -> Result<(), Error> {
        let (mut keys4, mut values4, mut keys6, mut values6) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for &(slot, backend) in slots {
            let port = Port::new(backend.port());
            match backend.ip() {
                IpAddr::V4(v4) => {
                    keys4.push(slot);
                    values4.push(value::Backend4 { address: Address4::new(v4), port, pad: 0 });
                }
                IpAddr::V6(v6) => {
                    keys6.push(slot);
                    values6.push(value::Backend6 { address: Address6::new(v6), port, pad: 0 });
                }
            }
        }
        write(&self.backends4, &layout::BACKENDS4, &keys4, &values4)?;
        write(&self.backends6, &layout::BACKENDS6, &keys6, &values6)
    }

    fn store_target(&mut self, service: u32, target: Target) -> Result<(), Error> {
        if service & RECORD6 == 0 {
            self.frontends4.store_u64(service as usize * ENTRY + ENTRY_TARGET, target.pack())?;
        } else {
            self.records6.store_u64((service & !RECORD6) as usize * size_of::<u64>(), target.pack())?;
        }
        Ok(())
    }

    fn add_frontends(&mut self, frontends: &[(FrontendKey, u32)]) -> Result<(), Error> {
        let (mut keys6, mut values6) = (Vec::new(), Vec::new());
        for (key, service) in frontends {
            match frontend_key(key) {
                KernelKey::V4(key) => self.add_frontend4(key, *service)?,
                KernelKey::V6(key) => {
                    keys6.push(key);
                    values6.push(value::Frontend6 { service: *service });
                }
            }
        }
        write(&self.frontends6, &layout::FRONTENDS6, &keys6, &values6)
    }

    /// First the way there, then the key: a lookup finds it from the last store on.
    fn add_frontend4(&mut self, key: key::Frontend4, service: u32) -> Result<(), Error> {
        let buckets_log2 = limits::buckets4_log2(self.scale);
        let home = key::Frontend4::bucket(key.word(), buckets_log2);
        let distance = ((service / BUCKET_ENTRIES).wrapping_sub(home) & ((1 << buckets_log2) - 1)) as u8;
        let head_at = (home * BUCKET_ENTRIES) as usize * ENTRY;
        let head = key::Frontend4::from_word(self.frontends4.load_u64(head_at)?);
        if distance > head.reach {
            self.frontends4.store_u64(head_at, key::Frontend4 { reach: distance, ..head }.word())?;
        }
        self.store_key4(service, key.word())
    }

    /// The first entry of a bucket keeps the bucket's reach.
    fn store_key4(&mut self, service: u32, word: u64) -> Result<(), Error> {
        let at = service as usize * ENTRY;
        let first = service.is_multiple_of(BUCKET_ENTRIES);
        let reach = if first { self.frontends4.load_u64(at)? & key::Frontend4::REACH } else { 0 };
        Ok(self.frontends4.store_u64(at, word | reach)?)
    }

    fn remove_frontends(&mut self, frontends: &[(FrontendKey, u32)]) -> Result<(), Error> {
        let mut keys6 = Vec::new();
        for (key, service) in frontends {
            match frontend_key(key) {
                KernelKey::V4(_) => {
                    self.store_key4(*service, 0)?;
                    self.store_target(*service, Target::default())?;
                }
                KernelKey::V6(key) => keys6.push(key),
            }
        }
        remove(&self.frontends6, &layout::FRONTENDS6, &keys6)
    }

    /// Everything that is in the kernel, for a ledger.
    pub(super) fn read_back(&mut self) -> Result<ReadBack, Error> {
        let mut found = Vec::new();
        for (bucket, content) in read::<u32, value::Bucket4>(self.frontends4.map())? {
            for (entry, service) in content.entries.iter().zip(bucket * BUCKET_ENTRIES..) {
                let key = key::Frontend4::from_word(entry.key);
                if let Some(key) = user_key(key.address.to_ip().into(), key.port, key.protocol) {
                    found.push(self.read_frontend(key, service, Target::unpack(entry.target))?);
                }
            }
        }
        for (key, value) in read::<key::Frontend6, value::Frontend6>(&self.frontends6)? {
            if let Some(key) = user_key(key.address.to_ip(), key.port, key.protocol) {
                let index = value.service & !RECORD6;
                let target = if index < layout::RECORDS6.at(self.scale).max_entries {
                    Target::unpack(self.records6.load_u64(index as usize * size_of::<u64>())?)
                } else {
                    Target::default()
                };
                found.push(self.read_frontend(key, value.service, target)?);
            }
        }
        let members = read::<key::AffinityMember, u8>(&self.members)?
            .into_iter()
            .filter_map(|(member, _)| user_member(&member))
            .collect();
        Ok((found, members))
    }

    fn read_frontend(&self, key: FrontendKey, service: u32, target: Target) -> Result<Found, Error> {
        let Target { span, affinity_s } = target;
        let mut backends = Vec::new();
        let is_v4 = key.address.is_ipv4();
        let (map, shape) =
            if is_v4 { (&self.backends4, layout::BACKENDS4) } else { (&self.backends6, layout::BACKENDS6) };
        for slot in span.first..(span.first + span.count).min(shape.at(self.scale).max_entries) {
            let Some(bytes) = map.lookup(slot.as_bytes())? else { break };
            let backend: Option<(IpAddr, Port)> = if is_v4 {
                value::Backend4::read_from_bytes(&bytes).ok().map(|b| (b.address.to_ip().into(), b.port))
            } else {
                value::Backend6::read_from_bytes(&bytes).ok().map(|b| (b.address.to_ip(), b.port))
            };
            backends.extend(backend.map(|(ip, port)| Backend::new(ip, port.number())));
        }
        Ok(Found { key, service, span, affinity_s, backends })
    }

    /// Kernel memory by map.
    pub(super) fn memory_bytes(&self) -> Result<Vec<(&'static str, u64)>, Error> {
        let own = [
            (layout::FRONTENDS4.name, self.frontends4.map()),
            (layout::FRONTENDS6.name, &self.frontends6),
            (layout::RECORDS6.name, self.records6.map()),
            (layout::BACKENDS4.name, &self.backends4),
            (layout::BACKENDS6.name, &self.backends6),
            (layout::AFFINITY_MEMBERS.name, &self.members),
            (layout::DROPS.name, &self.drops),
        ];
        let state = self.state.iter().map(|(name, map)| (*name, map));
        own.into_iter().chain(state).map(|(name, map)| Ok((name, map.memory_bytes()?))).collect()
    }

    /// Decisions against clients, summed over CPUs.
    pub(super) fn drops(&self) -> Result<Vec<(Reason, u64)>, Error> {
        let count = |reason: Reason| {
            let values = self.drops.lookup((reason as u32).as_bytes())?.unwrap_or_default();
            let (cpus, _) = values.as_chunks::<8>();
            Ok((reason, cpus.iter().map(|bytes| u64::from_ne_bytes(*bytes)).sum()))
        };
        Reason::ALL.into_iter().map(count).collect()
    }
}

fn write<K, V>(map: &Map, shape: &Shape, keys: &[K], values: &[V]) -> Result<(), Error>
where
    K: IntoBytes + Immutable,
    V: IntoBytes + Immutable,
{
    map.update_batch(keys.as_bytes(), values.as_bytes())
        .map_err(|source| Error::Batch { name: shape.name, source })
}

fn remove<K: IntoBytes + Immutable>(map: &Map, shape: &Shape, keys: &[K]) -> Result<(), Error> {
    map.delete_batch(keys.as_bytes()).map_err(|source| Error::Batch { name: shape.name, source })
}

fn read<K: FromBytes, V: FromBytes>(map: &Map) -> Result<Vec<(K, V)>, Error> {
    let entries = map.entries()?;
    let keys = entries.keys.chunks_exact(size_of::<K>()).filter_map(|bytes| K::read_from_bytes(bytes).ok());
    let values =
        entries.values.chunks_exact(size_of::<V>()).filter_map(|bytes| V::read_from_bytes(bytes).ok());
    Ok(keys.zip(values).collect())
}
