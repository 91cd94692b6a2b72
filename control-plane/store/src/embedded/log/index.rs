//! Where each key's newest value lies. A clone of the index is a snapshot: it costs a pointer, and the files that it
//! names stay readable for as long as it lives, also those that were removed from the folder since.

use super::{
    format::{Record, decode_record},
    segment::Segment,
};
use crate::contract::StoreError;
use imbl::OrdMap;
use std::{
    ops::Bound::{Excluded, Included, Unbounded},
    sync::Arc,
};

/// An entry's place.
#[derive(Clone)]
pub(super) struct Slot {
    pub(super) segment: Arc<Segment>,
    pub(super) offset: u64,
    pub(super) bytes: u32,
}

impl Slot {
    fn read(&self, key: Arc<str>) -> Result<Record, StoreError> {
        let entry = self.segment.read(self.offset, self.bytes as usize)?;
        decode_record(key.clone(), entry)
            .ok_or_else(|| self.segment.corrupt(self.offset, &format!("the value of {key:?} is damaged")))
    }
}

/// The keys in order, each with its place.
#[derive(Clone, Default)]
pub(in crate::embedded) struct Index {
    slots: OrdMap<Arc<str>, Slot>,
    live_bytes: u64,
}

impl Index {
    /// A key's newest state.
    pub(in crate::embedded) fn get(&self, key: &str) -> Result<Option<Record>, StoreError> {
        let found = self.slots.get_key_value(key);
        found.map(|(key, slot)| slot.read(key.clone())).transpose()
    }

    /// Keys under `prefix` and after `after`, in order.
    pub(in crate::embedded) fn range(
        &self,
        prefix: &str,
        after: Option<&str>,
    ) -> impl Iterator<Item = Result<Record, StoreError>> {
        let from = match after {
            Some(after) if after >= prefix => Excluded(after),
            _ => Included(prefix),
        };
        let found = self.slots.range::<_, str>((from, Unbounded));
        found.take_while(move |(key, _)| key.starts_with(prefix)).map(|(key, slot)| slot.read(key.clone()))
    }

    /// How many keys there are.
    pub(in crate::embedded) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The key's new place, or none.
    pub(super) fn set(&mut self, key: Arc<str>, slot: Option<Slot>) {
        self.live_bytes += slot.as_ref().map_or(0, |slot| u64::from(slot.bytes));
        let old = match slot {
            Some(slot) => self.slots.insert(key, slot),
            None => self.slots.remove(&key),
        };
        self.live_bytes -= old.map_or(0, |old| u64::from(old.bytes));
    }

    /// Whether the key's newest value is the entry at this place.
    pub(super) fn is_at(&self, key: &str, segment: &Arc<Segment>, offset: u64) -> bool {
        self.slots.get(key).is_some_and(|slot| Arc::ptr_eq(&slot.segment, segment) && slot.offset == offset)
    }

    /// Entries that hold a newest value, in bytes.
    pub(super) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }
}
