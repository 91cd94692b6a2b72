//! Where frontends lie: for IPv4 the place of a line in the table, for IPv6 the index of a record.

use std::collections::BTreeMap;

use super::{
    Capacity,
    ids::Ids,
    table::{Passage, Table4},
};
use crate::{
    encode::{KernelKey, frontend_key},
    plan::{Family, FrontendKey},
};

/// What is free of both families.
#[derive(Debug)]
pub(super) struct Records {
    table4: Table4,
    ids6: Ids,
}

impl Records {
    pub(super) fn new(capacity: &Capacity) -> Self {
        Self {
            table4: Table4::new(capacity.shards4_log2, capacity.shard_lines),
            ids6: Ids::new(capacity.frontends6 as u32),
        }
    }

    /// One that nobody has; a line where a lookup of the key finds it.
    pub(super) fn take(&mut self, key: &FrontendKey) -> Option<u32> {
        match frontend_key(key) {
            KernelKey::V4(key) => self.table4.take(key.word()),
            KernelKey::V6(_) => self.ids6.take(),
        }
    }

    /// Another line for a key that has one. See [`Table4::take_other`].
    pub(super) fn take_other(&mut self, key: &FrontendKey, old: u32, outgoing: &[u32]) -> Option<u32> {
        match frontend_key(key) {
            KernelKey::V4(key) => self.table4.take_other(key.word(), old, outgoing),
            KernelKey::V6(_) => None,
        }
    }

    /// See [`Table4::passage`]. A record of IPv6 stays where it is.
    pub(super) fn passage(&self, key: &FrontendKey, old: u32, new: u32) -> Passage {
        match frontend_key(key) {
            KernelKey::V4(key) => self.table4.passage(key.word(), old, new),
            KernelKey::V6(_) => Passage::Follows,
        }
    }

    /// How far a place is from where lookups of the key begin.
    pub(super) fn distance(&self, key: &FrontendKey, place: u32) -> u32 {
        match frontend_key(key) {
            KernelKey::V4(key) => self.table4.distance(key.word(), place),
            KernelKey::V6(_) => 0,
        }
    }

    /// Takes a certain one, that was found to be the key's; `false` if it cannot be.
    pub(super) fn reserve(&mut self, key: &FrontendKey, record: u32) -> bool {
        match frontend_key(key) {
            KernelKey::V4(key) => self.table4.reserve(record, key.word()),
            KernelKey::V6(_) => self.ids6.reserve(record),
        }
    }

    pub(super) fn give(&mut self, family: Family, record: u32) {
        match family {
            Family::V4 => self.table4.give(record),
            Family::V6 => self.ids6.give(record),
        }
    }

    /// See [`Table4::settle`].
    pub(super) fn settle(&mut self) {
        self.table4.settle();
    }

    /// See [`Table4::has_raised`].
    pub(super) fn has_raised(&self) -> bool {
        self.table4.has_raised()
    }

    /// See [`Table4::begin_settling`].
    pub(super) fn begin_settling(&mut self) {
        self.table4.begin_settling();
    }

    /// See [`Table4::settle_begun`].
    pub(super) fn settle_begun(&mut self) {
        self.table4.settle_begun();
    }

    /// See [`Table4::reach`].
    pub(super) fn reach(&self, place: u32) -> u8 {
        self.table4.reach(place)
    }

    /// See [`Table4::found_reach`].
    pub(super) fn found_reach(&mut self, place: u32, reach: u8) {
        self.table4.found_reach(place, reach);
    }

    /// See [`Table4::take_raised`].
    pub(super) fn take_raised(&mut self) -> BTreeMap<u32, u8> {
        self.table4.take_raised()
    }
}
