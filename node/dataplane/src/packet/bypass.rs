//! Pods whose sockets are not translated, as the socket programs know them: by network namespace.
//!
//! The map outlives the daemon, and names each pod's link: what is left of pods that are gone is found without their namespaces. It is
//! read when it is opened; from then on nobody else writes it.

use std::collections::{BTreeMap, BTreeSet};

use keelson_ebpf_common::{layout, metrics::Control, value};
use keelson_sys::bpf::{Map, SharedArray};
use zerocopy::{FromBytes, IntoBytes};

use super::load::open;
use crate::{Error, maps::pins::Pins};

/// The map, and the flag without which nobody looks into it.
#[derive(Debug)]
pub(super) struct Bypass {
    map: Map,
    control: SharedArray,
    /// What is in the map.
    held: BTreeMap<u64, Link>,
}

/// Name of a link as [`value::Bypass::link`] has it.
type Link = [u8; 16];

impl Bypass {
    pub(super) fn open(pins: &Pins) -> Result<Self, Error> {
        let control = SharedArray::new(open(pins, &layout::CONTROL)?);
        let map = open(pins, &layout::BYPASS)?;
        let entries = map.entries()?;
        let mut held = BTreeMap::new();
        for (key, value) in entries.keys.chunks_exact(8).zip(entries.values.chunks_exact(16)) {
            if let (Ok(netns), Ok(value)) = (u64::read_from_bytes(key), value::Bypass::read_from_bytes(value))
            {
                held.insert(netns, value.link);
            }
        }
        Ok(Self { map, control, held })
    }

    /// Sockets of this namespace are left alone from now on.
    pub(super) fn add(&mut self, netns: u64, link: &str) -> Result<(), Error> {
        let value = value::Bypass { link: padded(link) };
        self.map.update(netns.as_bytes(), value.as_bytes())?;
        self.held.insert(netns, value.link);
        self.flag(true)
    }

    /// A link is gone, and its pod.
    pub(super) fn remove(&mut self, link: &str) -> Result<(), Error> {
        let gone = padded(link);
        self.retain(|link| *link != gone)
    }

    /// There are no other links.
    pub(super) fn keep_only<'a>(&mut self, links: impl Iterator<Item = &'a str>) -> Result<(), Error> {
        let links: BTreeSet<_> = links.map(padded).collect();
        self.retain(|link| links.contains(link))
    }

    /// What could not be removed is still held.
    fn retain(&mut self, stays: impl Fn(&Link) -> bool) -> Result<(), Error> {
        let gone: Vec<_> =
            self.held.iter().filter(|(_, link)| !stays(link)).map(|(netns, _)| *netns).collect();
        for netns in gone {
            self.map.delete(netns.as_bytes())?;
            self.held.remove(&netns);
        }
        self.flag(!self.held.is_empty())
    }

    fn flag(&mut self, any: bool) -> Result<(), Error> {
        Ok(self.control.store_u32(core::mem::offset_of!(Control, bypass), any.into())?)
    }
}

/// Without programs at pods' links nobody would serve such a pod: all sockets are translated.
pub(crate) fn ignore(pins: &Pins) -> Result<(), Error> {
    Bypass::open(pins)?.flag(false)
}

/// A link's name, which has 15 bytes at most.
fn padded(link: &str) -> Link {
    let mut name = [0; 16];
    name.iter_mut().zip(link.as_bytes()).for_each(|(to, from)| *to = *from);
    name
}
