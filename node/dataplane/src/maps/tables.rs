//! The maps by name: elements in and out, a round of steps at a time.

use std::{collections::BTreeMap, net::IpAddr};

use keelson_ebpf_common::{
    drop::Reason,
    key,
    layout::{self, Keeping, Shape},
    limits, metrics,
    net::{Address4, Address6, Port},
    value::{self, IN_SLOTS, Line4, Target},
};
use keelson_sys::bpf::{Map, SharedArray};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{lines::Lines, pins::Pins};
use crate::{
    Error,
    encode::{KernelKey, backend4, frontend_key, line, member_key, user_backend4, user_key, user_member},
    ledger::{Found, FoundAll, Round},
    plan::{Backend, FrontendKey},
};

/// The open maps of the socket programs.
#[derive(Debug)]
pub(super) struct Tables {
    frontends4: Lines,
    prefixes4: SharedArray,
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

impl Tables {
    /// Opens the pins that loading the programs has made.
    pub(super) fn open(pins: &Pins) -> Result<Self, Error> {
        let open = |shape: &Shape| {
            let map = Map::open_pinned(&pins.map(shape))?;
            map.ok_or(Error::Missing { what: "map", name: shape.name })
        };
        let state = layout::MAPS
            .iter()
            .filter(|shape| matches!(shape.keeping, Keeping::State(_)) && shape.name != layout::DROPS.name);
        // Before any program can be attached: what finds no row of its own is counted there.
        let other = metrics::Row::OTHER;
        open(&layout::TOTALS)?.insert_absent(other.as_bytes(), metrics::Totals::NONE.as_bytes())?;
        Ok(Self {
            frontends4: Lines::open(open(&layout::FRONTENDS4)?)?,
            prefixes4: SharedArray::new(open(&layout::PREFIXES4)?),
            frontends6: open(&layout::FRONTENDS6)?,
            records6: SharedArray::new(open(&layout::RECORDS6)?),
            backends4: open(&layout::BACKENDS4)?,
            backends6: open(&layout::BACKENDS6)?,
            members: open(&layout::AFFINITY_MEMBERS)?,
            drops: open(&layout::DROPS)?,
            scale: pins.scale(),
            state: state.map(|shape| Ok((shape.name, open(shape)?))).collect::<Result<_, Error>>()?,
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
        self.add_lines(round)?;
        self.add_frontends(&round.frontends)?;
        self.remove_lines(&round.gone_lines)?;
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
                    values4.push(backend4(v4, port));
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

    fn store_target(&mut self, record: u32, target: Target) -> Result<(), Error> {
        Ok(self.records6.store_u64(record as usize * size_of::<u64>(), target.pack())?)
    }

    /// First lines that nobody reads and the ways there, then one byte each: lookups find a line from that on.
    fn add_lines(&mut self, round: &Round) -> Result<(), Error> {
        round.lines.iter().try_for_each(|line| self.add_prefix(line.key.address))?;
        let mut lines: BTreeMap<u32, Line4> = round.lines.iter().map(|l| (l.place, line(l))).collect();
        let mut others = BTreeMap::new();
        for (&place, &reach) in &round.reaches {
            match lines.get_mut(&place) {
                Some(line) => line.head.reach = reach,
                None => {
                    let mut line = self.frontends4.read(place)?;
                    line.head.reach = reach;
                    others.insert(place, line);
                }
            }
        }
        let write = |lines: &BTreeMap<u32, Line4>| {
            self.frontends4.write(lines.iter().map(|(&place, line)| (place, line)))
        };
        write(&lines)?;
        write(&others)?;
        lines.values_mut().for_each(|line| line.head.published = 1);
        write(&lines)
    }

    fn add_prefix(&mut self, address: IpAddr) -> Result<(), Error> {
        let IpAddr::V4(address) = address else { return Ok(()) };
        let (word, bit) = Address4::new(address).prefix_bit(limits::prefix_bits4_log2(self.scale));
        let at = word as usize * size_of::<u64>();
        let word = self.prefixes4.load_u64(at)?;
        if word & bit == 0 {
            self.prefixes4.store_u64(at, word | bit)?;
        }
        Ok(())
    }

    /// Takes lines back, those of a shard in the order given; what is in them stays.
    fn remove_lines(&self, places: &[u32]) -> Result<(), Error> {
        let mut lines = Vec::with_capacity(places.len());
        for &place in places {
            let mut line = self.frontends4.read(place)?;
            line.head.published = 0;
            lines.push((place, line));
        }
        lines.sort_by_key(|(place, _)| place / limits::SHARD_LINES);
        self.frontends4.write(lines.iter().map(|(place, line)| (*place, line)))
    }

    fn add_frontends(&self, frontends: &[(FrontendKey, u32)]) -> Result<(), Error> {
        let (keys, records): (Vec<_>, Vec<_>) = frontends
            .iter()
            .filter_map(|(key, service)| Some((frontend_key6(key)?, value::Frontend6 { service: *service })))
            .unzip();
        write(&self.frontends6, &layout::FRONTENDS6, &keys, &records)
    }

    fn remove_frontends(&self, frontends: &[FrontendKey]) -> Result<(), Error> {
        let keys: Vec<_> = frontends.iter().filter_map(frontend_key6).collect();
        remove(&self.frontends6, &layout::FRONTENDS6, &keys)
    }

    /// Everything that is in the kernel, for a ledger.
    pub(super) fn read_back(&mut self) -> Result<FoundAll, Error> {
        let mut all = FoundAll::default();
        for (place, line) in self.frontends4.read_all()? {
            if line.head.reach > 0 {
                all.reaches.push((place, line.head.reach));
            }
            let key = key::Frontend4::from_word(line.key);
            let key = user_key(key.address.to_ip().into(), key.port, key.protocol);
            if let Some(key) = key.filter(|_| line.head.published != 0) {
                all.frontends.push(self.read_line(key, place, &line)?);
            }
        }
        for (key, value) in read::<key::Frontend6, value::Frontend6>(&self.frontends6)? {
            if let Some(key) = user_key(key.address.to_ip(), key.port, key.protocol) {
                let target = if value.service < layout::RECORDS6.at(self.scale).max_entries {
                    Target::unpack(self.records6.load_u64(value.service as usize * size_of::<u64>())?)
                } else {
                    Target::default()
                };
                all.frontends.push(self.read_frontend(key, value.service, target)?);
            }
        }
        let members = read::<key::AffinityMember, u8>(&self.members)?;
        all.members = members.into_iter().filter_map(|(member, _)| user_member(&member)).collect();
        Ok(all)
    }

    fn read_line(&self, key: FrontendKey, place: u32, line: &Line4) -> Result<Found, Error> {
        if line.head.count == IN_SLOTS {
            return self.read_frontend(key, place, Target::unpack(line.leads[0]));
        }
        let backends = line.leads.iter().take(line.head.count.into()).map(|&word| user_backend4(word));
        Ok(Found {
            key,
            service: place,
            span: value::Span::default(),
            affinity_s: 0,
            backends: backends.collect(),
        })
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
            (layout::PREFIXES4.name, self.prefixes4.map()),
            (layout::FRONTENDS6.name, &self.frontends6),
            (layout::RECORDS6.name, self.records6.map()),
            (layout::BACKENDS4.name, &self.backends4),
            (layout::BACKENDS6.name, &self.backends6),
            (layout::AFFINITY_MEMBERS.name, &self.members),
            (layout::DROPS.name, &self.drops),
        ];
        let state = self.state.iter().map(|(name, map)| (*name, map));
        let mut bytes = vec![(layout::FRONTENDS4.name, self.frontends4.memory_bytes()?)];
        for (name, map) in own.into_iter().chain(state) {
            bytes.push((name, map.memory_bytes()?));
        }
        Ok(bytes)
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

fn frontend_key6(key: &FrontendKey) -> Option<key::Frontend6> {
    match frontend_key(key) {
        KernelKey::V4(_) => None,
        KernelKey::V6(key) => Some(key),
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
