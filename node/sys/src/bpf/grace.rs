//! Waiting until no program still runs that started before.
//!
//! The kernel promises it after an update of a map that holds maps: when the call returns, every non-sleepable program
//! sees the new inner map (`maybe_wait_bpf_programs` in kernel/bpf/syscall.c). `membarrier(2)` would do the same, but
//! not on a machine with nohz_full CPUs.
#![expect(unsafe_code, reason = "the system call takes raw pointers")]

use std::os::fd::{AsRawFd, OwnedFd};

use super::syscall::{BpfError, MapCreate, UpdateElement, bpf, bpf_fd};

/// `BPF_MAP_TYPE_ARRAY` and `BPF_MAP_TYPE_ARRAY_OF_MAPS`.
const ARRAY: u32 = 2;
const ARRAY_OF_MAPS: u32 = 12;

/// Two tiny maps, one in the other, that no program uses.
#[derive(Debug)]
pub struct GracePeriod {
    inner: OwnedFd,
    outer: OwnedFd,
}

impl GracePeriod {
    /// Makes the maps.
    pub fn new() -> Result<Self, BpfError> {
        let shape = MapCreate { key_size: 4, value_size: 4, max_entries: 1, ..MapCreate::default() };
        let mut inner = MapCreate { map_type: ARRAY, ..shape };
        // SAFETY: no address in the attribute.
        let inner = unsafe { bpf_fd(&mut inner) }.map_err(|e| BpfError::of("making a map", e))?;
        let mut outer = MapCreate {
            map_type: ARRAY_OF_MAPS,
            key_size: 4,
            value_size: 4,
            max_entries: 1,
            inner_map_fd: inner.as_raw_fd() as u32,
            ..MapCreate::default()
        };
        // SAFETY: no address in the attribute.
        let outer = unsafe { bpf_fd(&mut outer) }.map_err(|e| BpfError::of("making a map of maps", e))?;
        Ok(Self { inner, outer })
    }

    /// Returns when every program run that was going on at the call has ended. Blocks for some milliseconds.
    pub fn wait(&self) -> Result<(), BpfError> {
        let (key, value) = (0_u32, self.inner.as_raw_fd() as u32);
        let mut attribute = UpdateElement {
            map_fd: self.outer.as_raw_fd() as u32,
            key: std::ptr::from_ref(&key).addr() as u64,
            value: std::ptr::from_ref(&value).addr() as u64,
            ..UpdateElement::default()
        };
        // SAFETY: key and value are four bytes each, as the map was made, and outlive the call.
        unsafe { bpf(&mut attribute) }.map_err(|e| BpfError::of("waiting for programs to end", e))?;
        Ok(())
    }
}
