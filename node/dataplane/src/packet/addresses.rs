//! What is remembered of the frontends inside the cluster: their addresses, which answer to ICMP echo as long as a frontend
//! has them, and where those of UDP lead, for flows that must not outlive their backend.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use keelson_ebpf_common::{layout, net::Address6};
use keelson_sys::bpf::Map;
use zerocopy::{FromBytes, IntoBytes};

use super::load::open;
use crate::{
    Error,
    maps::pins::Pins,
    plan::{Backend, Frontend, FrontendKey, Protocol},
};

/// The map, and which frontends have each address.
#[derive(Debug)]
pub(super) struct Addresses {
    map: Map,
    frontends: BTreeMap<IpAddr, BTreeSet<FrontendKey>>,
    udp: HashMap<FrontendKey, Vec<Backend>>,
}

impl Addresses {
    pub(super) fn open(pins: &Pins) -> Result<Self, Error> {
        Ok(Self { map: open(pins, &layout::ADDRESSES)?, frontends: BTreeMap::new(), udp: HashMap::new() })
    }

    pub(super) fn change(&mut self, gone: &[FrontendKey], wanted: &[Frontend]) -> Result<(), Error> {
        for frontend in wanted {
            let of_address = self.frontends.entry(frontend.key.address).or_default();
            let first = of_address.is_empty();
            if frontend.key.protocol == Protocol::Udp {
                self.udp.insert(frontend.key, frontend.backends.clone());
            }
            of_address.insert(frontend.key);
            if first {
                self.map.update(Address6::from_ip(frontend.key.address).as_bytes(), &[0])?;
            }
        }
        for key in gone {
            self.udp.remove(key);
            let Some(of_address) = self.frontends.get_mut(&key.address) else { continue };
            of_address.remove(key);
            if of_address.is_empty() {
                self.frontends.remove(&key.address);
                self.map.delete(Address6::from_ip(key.address).as_bytes())?;
            }
        }
        Ok(())
    }

    /// Where a frontend of UDP leads.
    pub(super) fn udp_backends(&self, key: &FrontendKey) -> &[Backend] {
        self.udp.get(key).map_or(&[], Vec::as_slice)
    }

    /// Also removes what an earlier daemon left.
    pub(super) fn replace(&mut self, wanted: &[Frontend]) -> Result<(), Error> {
        self.frontends.clear();
        self.udp.clear();
        self.change(&[], wanted)?;
        let entries = self.map.entries()?;
        let found = entries.keys.chunks_exact(size_of::<Address6>());
        for address in found.filter_map(|bytes| Address6::read_from_bytes(bytes).ok()) {
            if !self.frontends.contains_key(&address.to_ip()) {
                self.map.delete(address.as_bytes())?;
            }
        }
        Ok(())
    }
}
