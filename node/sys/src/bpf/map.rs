//! Maps: opening pins, shapes, elements in batches. Keys and values are bytes here.
#![expect(unsafe_code, reason = "the system call takes raw pointers")]

use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
};

use super::syscall::{
    self, BpfError, DeleteBatch, DeleteElement, Info, LookupBatch, LookupElement, NextKey, UpdateBatch,
    UpdateElement, bpf,
};

/// Elements asked for in one call at first; grows when one bucket of a hash holds more.
const READ_BATCH: usize = 1024;
/// Elements written in one call: bounds the time that the kernel spends without a look at signals.
const WRITE_BATCH: usize = 4096;

/// What the kernel says a map is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MapInfo {
    /// `enum bpf_map_type`.
    pub map_type: u32,
    /// The map's number in the kernel.
    pub id: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Size in entries.
    pub max_entries: u32,
    /// Flags at creation.
    pub flags: u32,
}

/// A batch that stopped half-way.
#[derive(Debug, thiserror::Error)]
#[error("after {done} of {total} elements")]
pub struct BatchError {
    /// Elements that were applied.
    pub done: usize,
    /// Elements that were asked for.
    pub total: usize,
    /// Why it stopped.
    pub source: BpfError,
}

/// All elements of a map, flat: `keys` and `values` hold one after another in the same order.
#[derive(Debug, Default)]
pub struct Entries {
    /// Keys, each of the map's key size.
    pub keys: Vec<u8>,
    /// Values, each of the map's value size (of a per-CPU map: as [`Map::lookup`] gives them).
    pub values: Vec<u8>,
}

/// How far a reading of a map's elements has come.
#[derive(Clone, Copy, Debug)]
pub struct Position(u32);

/// An open map.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    info: MapInfo,
    /// Bytes of a value in user space: for per-CPU maps all CPUs' values, each rounded up to 8 bytes.
    value_bytes: usize,
}

impl Map {
    /// Takes over a descriptor of a map.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, BpfError> {
        let info = info(fd.as_fd())?;
        let value_bytes = value_bytes(&info)?;
        Ok(Self { fd, info, value_bytes })
    }

    /// Opens a pinned map; `None` when nothing is pinned there.
    pub fn open_pinned(path: &Path) -> Result<Option<Self>, BpfError> {
        syscall::get_pinned(path)?.map(Self::from_fd).transpose()
    }

    /// What the kernel says it is.
    pub fn info(&self) -> MapInfo {
        self.info
    }

    /// Bytes of kernel memory that the map takes now, by its `fdinfo`.
    pub fn memory_bytes(&self) -> Result<u64, BpfError> {
        let path = format!("/proc/self/fdinfo/{}", self.fd.as_raw_fd());
        let doing = || format!("reading {path}");
        let text = fs::read_to_string(&path).map_err(|e| BpfError::of(doing(), e))?;
        text.lines().find_map(|line| line.strip_prefix("memlock:")?.trim().parse().ok()).ok_or_else(|| {
            BpfError::of(doing(), io::Error::new(io::ErrorKind::InvalidData, "no line `memlock:`"))
        })
    }

    /// All elements of a hash or array. Elements that others add or remove meanwhile may or may not be there.
    pub fn entries(&self) -> Result<Entries, BpfError> {
        let mut all = Entries::default();
        self.batches(|some| {
            all.keys.extend_from_slice(&some.keys);
            all.values.extend_from_slice(&some.values);
        })?;
        Ok(all)
    }

    /// Shows every element's key and value, as [`Self::entries`] but without holding all of them at once.
    pub fn visit(&self, mut see: impl FnMut(&[u8], &[u8])) -> Result<(), BpfError> {
        let (key_size, value_size) = (self.info.key_size as usize, self.value_bytes);
        self.batches(|some| {
            let pairs = some.keys.chunks_exact(key_size).zip(some.values.chunks_exact(value_size));
            pairs.for_each(|(key, value)| see(key, value));
        })
    }

    fn batches(&self, mut see: impl FnMut(&Entries)) -> Result<(), BpfError> {
        let (mut room, mut position) = (READ_BATCH, None);
        loop {
            let (some, next) = self.entries_from(position, &mut room)?;
            see(&some);
            position = next;
            if position.is_none() {
                return Ok(());
            }
        }
    }

    /// Up to `room` elements from a position on, at first `None`, and the position behind them, `None` at the end. The room
    /// grows when one bucket of a hash holds more.
    pub fn entries_from(
        &self,
        position: Option<Position>,
        room: &mut usize,
    ) -> Result<(Entries, Option<Position>), BpfError> {
        let (key_size, value_size) = (self.info.key_size as usize, self.value_bytes);
        *room = (*room).min(self.info.max_entries as usize).max(1);
        loop {
            let (mut keys, mut values) = (vec![0; *room * key_size], vec![0; *room * value_size]);
            let mut next = 0_u32;
            let mut attribute = LookupBatch {
                in_batch: position.as_ref().map_or(0, |p| std::ptr::from_ref(&p.0).addr() as u64),
                out_batch: std::ptr::from_mut(&mut next).addr() as u64,
                keys: keys.as_mut_ptr().addr() as u64,
                values: values.as_mut_ptr().addr() as u64,
                count: *room as u32,
                map_fd: self.raw(),
                ..LookupBatch::default()
            };
            // SAFETY: the buffers have room for `count` keys and values of the map's own sizes, and the position in a
            // hash is four bytes, as is an array's, which is a key. All outlive the call.
            let answer = unsafe { bpf(&mut attribute) };
            let last = match answer {
                Ok(_) => false,
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => true,
                // One bucket holds more than there is room for: nothing was read past `position`.
                Err(e) if e.raw_os_error() == Some(libc::ENOSPC) && attribute.count == 0 => {
                    *room *= 2;
                    continue;
                }
                Err(e) => return Err(BpfError::of("reading elements of a map", e)),
            };
            let read = attribute.count as usize;
            keys.truncate(read * key_size);
            values.truncate(read * value_size);
            return Ok((Entries { keys, values }, (!last).then_some(Position(next))));
        }
    }

    /// Writes elements, replacing those that exist; `keys` and `values` are flat, as in [`Entries`].
    ///
    /// # Panics
    /// When the lengths are not whole multiples of the map's sizes, or do not agree.
    pub fn update_batch(&self, keys: &[u8], values: &[u8]) -> Result<(), BatchError> {
        let (key_size, value_size) = (self.info.key_size as usize, self.value_bytes);
        let total = keys.len() / key_size;
        assert!(
            keys.len() == total * key_size && values.len() == total * value_size,
            "keys and values in pairs"
        );
        let mut done = 0;
        while done < total {
            let wanted = (total - done).min(WRITE_BATCH);
            let mut attribute = UpdateBatch {
                keys: keys[done * key_size..].as_ptr().addr() as u64,
                values: values[done * value_size..].as_ptr().addr() as u64,
                count: wanted as u32,
                map_fd: self.raw(),
                ..UpdateBatch::default()
            };
            // SAFETY: at least `count` keys and values of the map's own sizes lie there (asserted above); only read.
            let answer = unsafe { bpf(&mut attribute) };
            done += (attribute.count as usize).min(wanted);
            match answer {
                Ok(_) => {}
                Err(e) => {
                    let source = BpfError::of("writing elements of a map", e);
                    return Err(BatchError { done, total, source });
                }
            }
        }
        Ok(())
    }

    /// Writes one element unless its key exists (a batch has no such mode). Whether it was written.
    ///
    /// # Panics
    /// When key or value has not the map's size.
    pub fn insert_absent(&self, key: &[u8], value: &[u8]) -> Result<bool, BpfError> {
        /// `BPF_NOEXIST`.
        const NOEXIST: u64 = 1;
        let sizes = (self.info.key_size as usize, self.value_bytes);
        assert_eq!((key.len(), value.len()), sizes, "a whole key and value");
        let mut attribute = UpdateElement {
            map_fd: self.raw(),
            key: key.as_ptr().addr() as u64,
            value: value.as_ptr().addr() as u64,
            flags: NOEXIST,
            ..UpdateElement::default()
        };
        // SAFETY: key and value have the map's sizes (asserted above); only read.
        match unsafe { bpf(&mut attribute) } {
            Ok(_) => Ok(true),
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => Ok(false),
            Err(e) => Err(BpfError::of("writing an element of a map", e)),
        }
    }

    /// Removes elements; absent ones are fine. `keys` is flat.
    ///
    /// # Panics
    /// When the length is not a whole multiple of the key size.
    pub fn delete_batch(&self, keys: &[u8]) -> Result<(), BatchError> {
        let key_size = self.info.key_size as usize;
        let total = keys.len() / key_size;
        assert!(keys.len() == total * key_size, "whole keys");
        let mut done = 0;
        while done < total {
            let wanted = (total - done).min(WRITE_BATCH);
            let mut attribute = DeleteBatch {
                keys: keys[done * key_size..].as_ptr().addr() as u64,
                count: wanted as u32,
                map_fd: self.raw(),
                ..DeleteBatch::default()
            };
            // SAFETY: at least `count` keys of the map's own size lie there; only read.
            let answer = unsafe { bpf(&mut attribute) };
            done += (attribute.count as usize).min(wanted);
            match answer {
                Ok(_) => {}
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => done += 1,
                Err(e) => {
                    let source = BpfError::of("removing elements of a map", e);
                    return Err(BatchError { done, total, source });
                }
            }
        }
        Ok(())
    }

    /// The value at one key; `None` when the key is absent. For a per-CPU map all CPUs' values, each rounded up to 8
    /// bytes, one after another.
    ///
    /// # Panics
    /// When the key has not the map's size.
    pub fn lookup(&self, key: &[u8]) -> Result<Option<Vec<u8>>, BpfError> {
        assert_eq!(key.len(), self.info.key_size as usize, "a whole key");
        let mut value = vec![0; self.value_bytes];
        let mut attribute = LookupElement {
            map_fd: self.raw(),
            key: key.as_ptr().addr() as u64,
            value: value.as_mut_ptr().addr() as u64,
            ..LookupElement::default()
        };
        // SAFETY: the key has the map's size, and the value has room for what a lookup of this type of map writes.
        match unsafe { bpf(&mut attribute) } {
            Ok(_) => Ok(Some(value)),
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(e) => Err(BpfError::of("looking up an element of a map", e)),
        }
    }

    /// The first keys of a map, one after another: for maps without batches (a trie), and to see whether there is any.
    pub fn keys(&self, keys_max: usize) -> Result<Vec<Vec<u8>>, BpfError> {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        loop {
            if keys.len() == keys_max {
                return Ok(keys);
            }
            let mut next = vec![0; self.info.key_size as usize];
            let mut attribute = NextKey {
                map_fd: self.raw(),
                key: keys.last().map_or(0, |key| key.as_ptr().addr() as u64),
                next_key: next.as_mut_ptr().addr() as u64,
                ..NextKey::default()
            };
            // SAFETY: both keys have the map's size, and outlive the call.
            match unsafe { bpf(&mut attribute) } {
                Ok(_) => keys.push(next),
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(keys),
                Err(e) => return Err(BpfError::of("reading the keys of a map", e)),
            }
        }
    }

    /// Writes one element, for maps without batches.
    ///
    /// # Panics
    /// When key or value has not the map's size.
    pub fn update(&self, key: &[u8], value: &[u8]) -> Result<(), BpfError> {
        let sizes = (self.info.key_size as usize, self.value_bytes);
        assert_eq!((key.len(), value.len()), sizes, "a whole key and value");
        let mut attribute = UpdateElement {
            map_fd: self.raw(),
            key: key.as_ptr().addr() as u64,
            value: value.as_ptr().addr() as u64,
            ..UpdateElement::default()
        };
        // SAFETY: key and value have the map's sizes (asserted above); only read.
        unsafe { bpf(&mut attribute) }.map_err(|e| BpfError::of("writing an element of a map", e))?;
        Ok(())
    }

    /// Removes one element; absent is fine.
    ///
    /// # Panics
    /// When the key has not the map's size.
    pub fn delete(&self, key: &[u8]) -> Result<(), BpfError> {
        assert_eq!(key.len(), self.info.key_size as usize, "a whole key");
        let mut attribute =
            DeleteElement { map_fd: self.raw(), key: key.as_ptr().addr() as u64, ..DeleteElement::default() };
        // SAFETY: the key has the map's size (asserted above); only read.
        match unsafe { bpf(&mut attribute) } {
            Err(e) if e.raw_os_error() != Some(libc::ENOENT) => {
                Err(BpfError::of("removing an element of a map", e))
            }
            _ => Ok(()),
        }
    }

    fn raw(&self) -> u32 {
        self.fd.as_raw_fd() as u32
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn info(fd: BorrowedFd<'_>) -> Result<MapInfo, BpfError> {
    /// Head of `struct bpf_map_info`.
    #[repr(C)]
    #[derive(Default)]
    struct Head([u32; 6]);
    let mut head = Head::default();
    let mut attribute = Info {
        fd: fd.as_raw_fd() as u32,
        info_len: size_of::<Head>() as u32,
        info: std::ptr::from_mut(&mut head).addr() as u64,
    };
    // SAFETY: `head` is valid for `info_len` bytes, all of whose values are allowed, and outlives the call.
    unsafe { bpf(&mut attribute) }.map_err(|e| BpfError::of("asking for the shape of a map", e))?;
    let Head([map_type, id, key_size, value_size, max_entries, flags]) = head;
    Ok(MapInfo { map_type, id, key_size, value_size, max_entries, flags })
}

fn value_bytes(info: &MapInfo) -> Result<usize, BpfError> {
    /// `BPF_MAP_TYPE_PERCPU_HASH`, `_PERCPU_ARRAY`, `_LRU_PERCPU_HASH`, `_PERCPU_CGROUP_STORAGE`.
    const PER_CPU: [u32; 4] = [5, 6, 10, 21];
    let size = info.value_size as usize;
    if PER_CPU.contains(&info.map_type) { Ok(size.next_multiple_of(8) * possible_cpus()?) } else { Ok(size) }
}

/// How many values a per-CPU map has: the highest possible CPU, and one.
fn possible_cpus() -> Result<usize, BpfError> {
    const PATH: &str = "/sys/devices/system/cpu/possible";
    let doing = || format!("reading {PATH}");
    let text = fs::read_to_string(PATH).map_err(|e| BpfError::of(doing(), e))?;
    let last = text.trim().rsplit([',', '-']).next().and_then(|n| n.parse::<usize>().ok());
    last.map(|n| n + 1).ok_or_else(|| {
        BpfError::of(
            doing(),
            io::Error::new(io::ErrorKind::InvalidData, format!("not a list of CPUs: {text:?}")),
        )
    })
}
