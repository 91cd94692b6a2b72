//! How fast pods may send out of the node, by their links' indexes: what the programs make times of departure from.
//!
//! The table outlives the daemon and is what a later one knows of a pod's bound: pods are told of once, when they get their links.

use std::collections::BTreeSet;

use keelson_ebpf_common::{layout, packet::Pace};
use keelson_sys::bpf::Map;
use zerocopy::{FromBytes, IntoBytes};

use super::load::open;
use crate::{Error, maps::pins::Pins};

/// The map.
#[derive(Debug)]
pub(super) struct Paces {
    map: Map,
}

impl Paces {
    pub(super) fn open(pins: &Pins) -> Result<Self, Error> {
        Ok(Self { map: open(pins, &layout::PACES)? })
    }

    /// A new pod has this link.
    pub(super) fn put(&self, ifindex: u32, bytes_per_s: u64) -> Result<(), Error> {
        Ok(self.map.update(ifindex.as_bytes(), Pace { bytes_per_s, next_ns: 0 }.as_bytes())?)
    }

    /// Whether the pod with this link has a bound.
    pub(super) fn has(&self, ifindex: u32) -> Result<bool, Error> {
        Ok(self.map.lookup(ifindex.as_bytes())?.is_some())
    }

    /// The link is about to go.
    pub(super) fn remove(&self, ifindex: u32) -> Result<(), Error> {
        Ok(self.map.delete(ifindex.as_bytes())?)
    }

    /// There are no other links.
    pub(super) fn keep_only(&self, indexes: &BTreeSet<u32>) -> Result<(), Error> {
        let entries = self.map.entries()?;
        let found = entries.keys.chunks_exact(size_of::<u32>());
        for ifindex in found.filter_map(|bytes| u32::read_from_bytes(bytes).ok()) {
            if !indexes.contains(&ifindex) {
                self.remove(ifindex)?;
            }
        }
        Ok(())
    }
}
