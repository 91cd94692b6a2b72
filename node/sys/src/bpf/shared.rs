//! An array map as shared memory, written one atomic word at a time.
//!
//! Mapped in windows, each when first touched: what the kernel maps counts as this process's memory at once.
#![expect(unsafe_code, reason = "memory that the kernel shares")]

use std::{
    ffi::c_void,
    os::fd::{AsFd, AsRawFd},
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use super::{BpfError, Map};

/// Bytes of a window. A multiple of every page size in use (up to 64 KiB).
const WINDOW: usize = 65_536;

/// The memory of an array map that was created with `BPF_F_MMAPABLE`.
#[derive(Debug)]
pub struct SharedArray {
    map: Map,
    bytes: usize,
    windows: Vec<Option<Window>>,
}

#[derive(Debug)]
struct Window {
    start: NonNull<c_void>,
    bytes: usize,
}

// SAFETY: a window is plain memory, reached through atomics alone; it belongs to no thread.
unsafe impl Send for Window {}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: exactly the range that `mmap` gave; no reference into it outlives a call of `SharedArray`.
        unsafe { libc::munmap(self.start.as_ptr(), self.bytes) };
    }
}

impl SharedArray {
    /// Takes over an array map. Fails later, on first use, if it cannot be mapped.
    pub fn new(map: Map) -> Self {
        let info = map.info();
        let bytes = (info.value_size as usize).next_multiple_of(8) * info.max_entries as usize;
        let windows = std::iter::repeat_with(|| None).take(bytes.div_ceil(WINDOW)).collect();
        Self { map, bytes, windows }
    }

    /// The map itself.
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// Stores eight bytes at once, after everything that this thread wrote before. `offset` is in bytes.
    ///
    /// # Panics
    /// When the offset is not aligned or out of range.
    pub fn store_u64(&mut self, offset: usize, value: u64) -> Result<(), BpfError> {
        let address = self.address(offset, 8)?;
        // SAFETY: aligned and inside a live mapping (`address` checks); everyone else uses atomic words too.
        unsafe { AtomicU64::from_ptr(address.cast().as_ptr()) }.store(value, Ordering::Release);
        Ok(())
    }

    /// Stores four bytes at once. As [`Self::store_u64`].
    pub fn store_u32(&mut self, offset: usize, value: u32) -> Result<(), BpfError> {
        let address = self.address(offset, 4)?;
        // SAFETY: as above.
        unsafe { AtomicU32::from_ptr(address.cast().as_ptr()) }.store(value, Ordering::Release);
        Ok(())
    }

    /// Reads eight bytes at once. As [`Self::store_u64`].
    pub fn load_u64(&mut self, offset: usize) -> Result<u64, BpfError> {
        let address = self.address(offset, 8)?;
        // SAFETY: as above.
        Ok(unsafe { AtomicU64::from_ptr(address.cast().as_ptr()) }.load(Ordering::Acquire))
    }

    /// Reads four bytes at once. As [`Self::store_u64`].
    pub fn load_u32(&mut self, offset: usize) -> Result<u32, BpfError> {
        let address = self.address(offset, 4)?;
        // SAFETY: as above.
        Ok(unsafe { AtomicU32::from_ptr(address.cast().as_ptr()) }.load(Ordering::Acquire))
    }

    /// The address of an aligned word, mapped.
    fn address(&mut self, offset: usize, size: usize) -> Result<NonNull<u8>, BpfError> {
        assert!(
            offset.is_multiple_of(size) && offset + size <= self.bytes,
            "word at {offset} of {}",
            self.bytes
        );
        let number = offset / WINDOW;
        let window = match &mut self.windows[number] {
            Some(window) => window,
            empty => empty.insert(map_window(&self.map, number * WINDOW, self.bytes)?),
        };
        // SAFETY: offset % WINDOW + size <= the window's bytes, by the assertion and the word's alignment.
        Ok(unsafe { window.start.cast::<u8>().add(offset % WINDOW) })
    }
}

fn map_window(map: &Map, start: usize, total: usize) -> Result<Window, BpfError> {
    let bytes = (total - start).min(WINDOW);
    // SAFETY: a new mapping where the kernel likes it; touches no memory of ours.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            map.as_fd().as_raw_fd(),
            start as libc::off_t,
        )
    };
    match NonNull::new(address) {
        Some(start) if address != libc::MAP_FAILED => Ok(Window { start, bytes }),
        _ => Err(BpfError::last("mapping the memory of an array map")),
    }
}
