//! Making maps that aya cannot: maps of maps, and those that go into them.
#![expect(unsafe_code, reason = "the system call takes raw pointers")]

use std::{
    os::fd::{AsFd, AsRawFd},
    path::Path,
};

use super::{
    BpfError, Map,
    syscall::{self, GetById, MapCreate, bpf_fd},
};

/// A map to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewMap<'a> {
    /// Name in the kernel; cut to 15 bytes.
    pub name: &'a str,
    /// `enum bpf_map_type`.
    pub map_type: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Size in entries.
    pub max_entries: u32,
    /// Flags at creation.
    pub flags: u32,
    /// For a map of maps one that is like all that go into it.
    pub inner: Option<&'a Map>,
}

impl Map {
    /// Makes a map, which ends with its last descriptor unless it is pinned or in another map.
    pub fn create(new: &NewMap<'_>) -> Result<Self, BpfError> {
        let mut map_name = [0; 16];
        let length = new.name.len().min(map_name.len() - 1);
        map_name[..length].copy_from_slice(&new.name.as_bytes()[..length]);
        let mut attribute = MapCreate {
            map_type: new.map_type,
            key_size: new.key_size,
            value_size: new.value_size,
            max_entries: new.max_entries,
            map_flags: new.flags,
            inner_map_fd: new.inner.map_or(0, |map| map.as_fd().as_raw_fd() as u32),
            numa_node: 0,
            map_name,
        };
        // SAFETY: no address in the attribute.
        let fd = unsafe { bpf_fd(&mut attribute) }
            .map_err(|e| BpfError::of(format!("making the map {}", new.name), e))?;
        Self::from_fd(fd)
    }

    /// Opens a map by its number in the kernel, which is what a map of maps tells of its elements.
    pub fn open_id(id: u32) -> Result<Self, BpfError> {
        let mut attribute = GetById { id, ..GetById::default() };
        // SAFETY: no address in the attribute.
        let fd = unsafe { bpf_fd(&mut attribute) }
            .map_err(|e| BpfError::of(format!("opening the map with number {id}"), e))?;
        Self::from_fd(fd)
    }

    /// Keeps the map beyond this process.
    pub fn pin(&self, path: &Path) -> Result<(), BpfError> {
        syscall::pin(self.as_fd().as_raw_fd() as u32, path)
    }
}
