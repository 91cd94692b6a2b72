//! What the programs know of tunnels: devices that lead to other nodes through something that wraps packets, and the node's addresses
//! there.
//!
//! They are made and removed by `node/cni`, or by the network of whoever else has the pods; until a daemon says otherwise the table is as
//! an earlier one left it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use keelson_ebpf_common::{
    layout,
    net::{Address4, Address6},
    packet::Tunnel,
};
use keelson_sys::bpf::Map;
use zerocopy::{FromBytes, IntoBytes};

use super::load::open;
use crate::{Error, maps::pins::Pins};

/// A tunnel's device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TunnelDevice {
    /// Its name. It has hardware addresses: what it takes are frames.
    pub name: String,
    /// The node's addresses there, by which the answers find back: one of each family at most.
    pub addresses: Vec<IpAddr>,
}

/// The map, and the addresses that count as the node's.
#[derive(Debug)]
pub(super) struct Tunnels {
    map: Map,
    known: BTreeMap<String, BTreeSet<IpAddr>>,
}

impl Tunnels {
    pub(super) fn open(pins: &Pins) -> Result<Self, Error> {
        Ok(Self { map: open(pins, &layout::TUNNELS)?, known: BTreeMap::new() })
    }

    /// The node's, in any.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.known.values().flatten().copied()
    }

    /// Remembers these. Answers addresses that were remembered before and are none any more.
    pub(super) fn remember(&mut self, devices: &[TunnelDevice]) -> Vec<IpAddr> {
        let before: BTreeSet<IpAddr> = self.addresses().collect();
        let of = |device: &TunnelDevice| (device.name.clone(), device.addresses.iter().copied().collect());
        self.known = devices.iter().map(of).collect();
        let now: BTreeSet<IpAddr> = self.addresses().collect();
        before.difference(&now).copied().collect()
    }

    /// A device, by its index.
    pub(super) fn put(&self, ifindex: u32, device: &TunnelDevice) -> Result<(), Error> {
        let mut value = Tunnel { node4: 0, node6: [0; 4] };
        for address in &device.addresses {
            match address {
                IpAddr::V4(v4) => value.node4 = Address4::new(*v4).0,
                IpAddr::V6(v6) => value.node6 = Address6::new(*v6).0,
            }
        }
        Ok(self.map.update(ifindex.as_bytes(), value.as_bytes())?)
    }

    /// There are no others.
    pub(super) fn keep_only(&self, indexes: &BTreeSet<u32>) -> Result<(), Error> {
        let entries = self.map.entries()?;
        let found = entries.keys.chunks_exact(size_of::<u32>());
        for ifindex in found.filter_map(|bytes| u32::read_from_bytes(bytes).ok()) {
            if !indexes.contains(&ifindex) {
                self.map.delete(ifindex.as_bytes())?;
            }
        }
        Ok(())
    }
}
