//! The table of IPv4 frontends: an array of shards, each an array of lines that is a map of its own.
//!
//! Made whole before it is pinned: a pin leads to a table that has all its shards. Shards are opened by their number when
//! they are written or read, as a descriptor each would be hundreds. Does not know which line is whose: that is `ledger`.

use std::{
    os::fd::{AsFd, AsRawFd},
    path::Path,
};

use keelson_ebpf_common::{
    layout::{self, Shape},
    limits::SHARD_LINES,
    value::Line4,
};
use keelson_sys::bpf::{Map, NewMap};
use zerocopy::{FromBytes, IntoBytes};

use super::pins::fits;
use crate::Error;

/// The open table. Places are as in `ledger`: the shard's index times its lines, and the line.
#[derive(Debug)]
pub(super) struct Lines {
    outer: Map,
    /// The shards' numbers in the kernel.
    shards: Vec<u32>,
}

impl Lines {
    /// Makes an empty table, pinned at `path`.
    pub(super) fn make(path: &Path, shape: &Shape) -> Result<(), Error> {
        let new = |shape: &Shape, inner| NewMap { inner, ..new_map(shape) };
        let shards: Vec<Map> = (0..shape.max_entries)
            .map(|_| Map::create(&new(&layout::SHARD4, None)))
            .collect::<Result<_, _>>()?;
        let outer = Map::create(&new(shape, shards.first()))?;
        let keys: Vec<u32> = (0..shape.max_entries).collect();
        // What is written is a descriptor, what is read a number.
        let descriptors: Vec<u32> = shards.iter().map(|map| map.as_fd().as_raw_fd() as u32).collect();
        outer
            .update_batch(keys.as_bytes(), descriptors.as_bytes())
            .map_err(|source| Error::Batch { name: shape.name, source })?;
        Ok(outer.pin(path)?)
    }

    /// Takes over a table, whose own shape was compared.
    pub(super) fn open(outer: Map) -> Result<Self, Error> {
        let mut shards = vec![0; outer.info().max_entries as usize];
        let entries = outer.entries()?;
        for (key, id) in words(&entries.keys).zip(words(&entries.values)) {
            if let Some(shard) = shards.get_mut(key as usize) {
                *shard = id;
            }
        }
        let lines = Self { outer, shards };
        for shard in 0..lines.shards.len() {
            let info = lines.shard(shard)?.info();
            if !fits(&layout::SHARD4, info) {
                let (found, wanted) = (format!("{info:?}"), format!("{:?}", layout::SHARD4));
                return Err(Error::Shape { name: layout::FRONTENDS4.name, found, wanted });
            }
        }
        Ok(lines)
    }

    /// Writes lines by their places, in their order; those of a shard follow each other.
    pub(super) fn write<'a>(&self, lines: impl Iterator<Item = (u32, &'a Line4)>) -> Result<(), Error> {
        let all: Vec<_> = lines.collect();
        for lines in all.chunk_by(|(a, _), (b, _)| a / SHARD_LINES == b / SHARD_LINES) {
            let keys: Vec<u32> = lines.iter().map(|(place, _)| place % SHARD_LINES).collect();
            let values: Vec<Line4> = lines.iter().map(|(_, line)| **line).collect();
            self.shard((lines[0].0 / SHARD_LINES) as usize)?
                .update_batch(keys.as_bytes(), values.as_bytes())
                .map_err(|source| Error::Batch { name: layout::FRONTENDS4.name, source })?;
        }
        Ok(())
    }

    /// The line at a place.
    pub(super) fn read(&self, place: u32) -> Result<Line4, Error> {
        let shard = self.shard((place / SHARD_LINES) as usize)?;
        let line = shard.lookup((place % SHARD_LINES).as_bytes())?;
        let line = line.and_then(|bytes| Line4::read_from_bytes(&bytes).ok());
        line.ok_or(Error::Missing { what: "line of the map", name: layout::FRONTENDS4.name })
    }

    /// All lines that were ever written, by their places.
    pub(super) fn read_all(&self) -> Result<Vec<(u32, Line4)>, Error> {
        let mut all = Vec::new();
        for shard in 0..self.shards.len() {
            let entries = self.shard(shard)?.entries()?;
            let lines = entries.values.chunks_exact(size_of::<Line4>());
            let lines = lines.filter_map(|bytes| Line4::read_from_bytes(bytes).ok());
            let places = words(&entries.keys).map(|line| shard as u32 * SHARD_LINES + line);
            all.extend(places.zip(lines).filter(|(_, line)| *line != Line4::default()));
        }
        Ok(all)
    }

    /// Kernel memory of the table and its shards.
    pub(super) fn memory_bytes(&self) -> Result<u64, Error> {
        let mut total = self.outer.memory_bytes()?;
        for shard in 0..self.shards.len() {
            total += self.shard(shard)?.memory_bytes()?;
        }
        Ok(total)
    }

    fn shard(&self, index: usize) -> Result<Map, Error> {
        let id = self.shards.get(index).copied().filter(|&id| id != 0);
        let id = id.ok_or(Error::Missing { what: "shard of the map", name: layout::FRONTENDS4.name })?;
        Ok(Map::open_id(id)?)
    }
}

fn new_map(shape: &Shape) -> NewMap<'static> {
    NewMap {
        name: shape.name,
        map_type: shape.map_type as u32,
        key_size: shape.key_size,
        value_size: shape.value_size,
        max_entries: shape.max_entries,
        flags: shape.flags,
        inner: None,
    }
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u32> {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|word| u32::from_ne_bytes(*word))
}
