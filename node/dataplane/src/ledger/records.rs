//! Numbers of records: for IPv4 the place in the table of frontends, for IPv6 an index with [`RECORD6`] set.

use keelson_ebpf_common::value::RECORD6;

use super::{Capacity, ids::Ids, table::Table4};
use crate::{
    encode::{KernelKey, frontend_key},
    plan::FrontendKey,
};

/// The free records of both families.
#[derive(Debug)]
pub(super) struct Records {
    table4: Table4,
    ids6: Ids,
}

impl Records {
    pub(super) fn new(capacity: &Capacity) -> Self {
        Self { table4: Table4::new(capacity.buckets4_log2), ids6: Ids::new(capacity.frontends6 as u32) }
    }

    /// A record that nobody has, where a lookup of the key finds it.
    pub(super) fn take(&mut self, key: &FrontendKey) -> Option<u32> {
        match frontend_key(key) {
            KernelKey::V4(key) => self.table4.take(key.word()),
            KernelKey::V6(_) => self.ids6.take().map(|id| id | RECORD6),
        }
    }

    /// Takes a certain record, unless it is taken or none that [`Self::take`] gives for the key.
    pub(super) fn reserve(&mut self, key: &FrontendKey, record: u32) -> bool {
        match frontend_key(key) {
            KernelKey::V4(key) => self.table4.reserve(record, key.word()),
            KernelKey::V6(_) => record & RECORD6 != 0 && self.ids6.reserve(record & !RECORD6),
        }
    }

    pub(super) fn give(&mut self, record: u32) {
        if record & RECORD6 == 0 {
            self.table4.give(record);
        } else {
            self.ids6.give(record & !RECORD6);
        }
    }
}
