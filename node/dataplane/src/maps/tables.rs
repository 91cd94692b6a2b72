//! The maps by name: elements in and out, a round of steps at a time.

use std::{collections::BTreeSet, net::IpAddr};

use keelson_ebpf_common::{
    drop::Reason,
    key,
    layout::{self, Shape},
    net::{Address4, Address6, Port, Protocol},
    value::{self, Span},
};
use keelson_sys::bpf::{Map, SharedArray};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::pins::Pins;
use crate::{
    Error,
    ledger::{Found, Round},
    plan::{Backend, FrontendKey},
};

/// The open maps of the socket programs.
#[derive(Debug)]
pub(super) struct Tables {
    frontends4: Map,
    frontends6: Map,
    services: SharedArray,
    backends4: Map,
    backends6: Map,
    members: Map,
    drops: Map,
    /// Maps that only programs write: held for their memory figures.
    state: Vec<(&'static str, Map)>,
}

/// Bytes from one record to the next, and of the fields in it.
const RECORD: usize = size_of::<value::Service>();
const RECORD_AFFINITY: usize = core::mem::offset_of!(value::Service, affinity_s);

impl Tables {
    /// Opens the pins that loading the programs has made.
    pub(super) fn open(pins: &Pins) -> Result<Self, Error> {
        let open = |shape: &Shape| {
            let map = Map::open_pinned(&pins.map(shape))?;
            map.ok_or(Error::Missing { what: "map", name: shape.name })
        };
        let state = [layout::CONNECTIONS, layout::CONNECTIONS_SPILLED, layout::DATAGRAMS, layout::AFFINITY];
        Ok(Self {
            frontends4: open(&layout::FRONTENDS4)?,
            frontends6: open(&layout::FRONTENDS6)?,
            services: SharedArray::new(open(&layout::SERVICES)?),
            backends4: open(&layout::BACKENDS4)?,
            backends6: open(&layout::BACKENDS6)?,
            members: open(&layout::AFFINITY_MEMBERS)?,
            drops: open(&layout::DROPS)?,
            state: state.iter().map(|shape| Ok((shape.name, open(shape)?))).collect::<Result<_, Error>>()?,
        })
    }

    /// Takes the steps of a round, in their order.
    pub(super) fn take(&mut self, round: &Round) -> Result<(), Error> {
        self.fill_slots(&round.slots)?;
        let members: Vec<_> = round.members.iter().map(member_key).collect();
        write(&self.members, &layout::AFFINITY_MEMBERS, &members, &vec![0_u8; members.len()])?;
        for record in &round.records {
            let offset = record.service as usize * RECORD;
            self.services.store_u32(offset + RECORD_AFFINITY, record.affinity_s)?;
            self.services.store_u64(offset, record.span.pack())?;
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

    fn add_frontends(&self, frontends: &[(FrontendKey, u32)]) -> Result<(), Error> {
        let (mut keys4, mut values4, mut keys6, mut values6) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (key, service) in frontends {
            let value = value::Frontend { service: *service };
            match frontend_key(key) {
                KernelKey::V4(key) => (keys4.push(key), values4.push(value)),
                KernelKey::V6(key) => (keys6.push(key), values6.push(value)),
            };
        }
        write(&self.frontends4, &layout::FRONTENDS4, &keys4, &values4)?;
        write(&self.frontends6, &layout::FRONTENDS6, &keys6, &values6)
    }

    fn remove_frontends(&self, frontends: &[FrontendKey]) -> Result<(), Error> {
        let (mut keys4, mut keys6) = (Vec::new(), Vec::new());
        for key in frontends {
            match frontend_key(key) {
                KernelKey::V4(key) => keys4.push(key),
                KernelKey::V6(key) => keys6.push(key),
            }
        }
        remove(&self.frontends4, &layout::FRONTENDS4, &keys4)?;
        remove(&self.frontends6, &layout::FRONTENDS6, &keys6)
    }

    /// Everything that is in the kernel, for a ledger.
    pub(super) fn read_back(&mut self) -> Result<(Vec<Found>, BTreeSet<(u32, Backend)>), Error> {
        let mut named = Vec::new();
        for (key, value) in read::<key::Frontend4, value::Frontend>(&self.frontends4)? {
            named.extend(
                user_key(key.address.to_ip().into(), key.port, key.protocol).map(|k| (k, value.service)),
            );
        }
        for (key, value) in read::<key::Frontend6, value::Frontend>(&self.frontends6)? {
            named.extend(user_key(key.address.to_ip(), key.port, key.protocol).map(|k| (k, value.service)));
        }
        let found = named
            .into_iter()
            .map(|(key, service)| self.read_frontend(key, service))
            .collect::<Result<_, _>>()?;
        let members = read::<key::AffinityMember, u8>(&self.members)?
            .into_iter()
            .map(|(m, _)| (m.service, Backend::new(m.address.to_ip(), m.port.number())))
            .collect();
        Ok((found, members))
    }

    fn read_frontend(&mut self, key: FrontendKey, service: u32) -> Result<Found, Error> {
        if service >= layout::SERVICES.max_entries {
            return Ok(Found { key, service, span: Span::default(), affinity_s: 0, backends: Vec::new() });
        }
        let offset = service as usize * RECORD;
        let span = Span::unpack(self.services.load_u64(offset)?);
        let affinity_s = self.services.load_u32(offset + RECORD_AFFINITY)?;
        let mut backends = Vec::new();
        let is_v4 = key.address.is_ipv4();
        let limit = if is_v4 { layout::BACKENDS4 } else { layout::BACKENDS6 }.max_entries;
        let end = u64::from(span.first) + u64::from(span.count);
        for slot in span.first..end.min(limit.into()) as u32 {
            let map = if is_v4 { &self.backends4 } else { &self.backends6 };
            let Some(bytes) = map.lookup(slot.as_bytes())? else { break };
            backends.extend(if is_v4 {
                value::Backend4::read_from_bytes(&bytes).ok().map(|b| (b.address.to_ip().into(), b.port))
            } else {
                value::Backend6::read_from_bytes(&bytes).ok().map(|b| (b.address.to_ip(), b.port))
            });
        }
        let backends =
            backends.into_iter().map(|(ip, port): (IpAddr, Port)| Backend::new(ip, port.number())).collect();
        Ok(Found { key, service, span, affinity_s, backends })
    }

    /// Kernel memory by map.
    pub(super) fn memory_bytes(&self) -> Result<Vec<(&'static str, u64)>, Error> {
        let own = [
            (layout::FRONTENDS4.name, &self.frontends4),
            (layout::FRONTENDS6.name, &self.frontends6),
            (layout::SERVICES.name, self.services.map()),
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

enum KernelKey {
    V4(key::Frontend4),
    V6(key::Frontend6),
}

fn frontend_key(key: &FrontendKey) -> KernelKey {
    let (port, protocol) = (Port::new(key.port), key.protocol as u8);
    match key.address {
        IpAddr::V4(v4) => {
            KernelKey::V4(key::Frontend4 { address: Address4::new(v4), port, protocol, pad: 0 })
        }
        IpAddr::V6(v6) => {
            KernelKey::V6(key::Frontend6 { address: Address6::new(v6), port, protocol, pad: 0 })
        }
    }
}

/// A key read back; `None` for one that [`frontend_key`] never makes, which no socket asks for either.
fn user_key(address: IpAddr, port: Port, protocol: u8) -> Option<FrontendKey> {
    let protocol = [Protocol::Tcp, Protocol::Udp].into_iter().find(|&p| p as u8 == protocol)?;
    Some(FrontendKey { address, port: port.number(), protocol })
}

fn member_key(&(service, backend): &(u32, Backend)) -> key::AffinityMember {
    key::AffinityMember {
        service,
        port: Port::new(backend.port()),
        pad: 0,
        address: Address6::from_ip(backend.ip()),
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
