//! A disk in memory that remembers every call, so that afterwards the power can be cut at any of them; what it may then
//! have kept of all that was not synced is decided by a random number.
//!
//! What it takes away is more than file systems do: any sectors of a write that was not synced, in any order, with zeros or
//! rubbish in the others; any of the names made, or their removal.

use keelson_store::embedded::{Disk, DiskFile};
use parking_lot::{Condvar, Mutex};
use rand::{Rng, rngs::StdRng};
use std::{collections::BTreeMap, io, path::Path, sync::Arc};
use tokio::sync::Notify;

/// What a disk tears at.
const SECTOR_BYTES: usize = 512;

/// The files of a disk at rest.
pub(crate) type Image = BTreeMap<String, Vec<u8>>;

/// A call, or what the test knew by then.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Create {
        name: String,
        file: usize,
    },
    Remove {
        name: String,
    },
    SyncNames,
    Write {
        file: usize,
        offset: usize,
        bytes: Vec<u8>,
    },
    SetLen {
        file: usize,
        len: usize,
    },
    Sync {
        file: usize,
    },
    /// Transactions up to this revision were asked for.
    Began(u64),
    /// Up to this one they were answered.
    Answered(u64),
}

#[derive(Default)]
struct State {
    names: BTreeMap<String, usize>,
    files: Vec<Vec<u8>>,
    ops: Vec<Op>,
    /// Syncs wait.
    hold: bool,
    /// Syncs fail.
    is_failing: bool,
    /// Bytes that all files may have.
    space: Option<usize>,
}

/// The disk; clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct SimDisk(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    released: Condvar,
    held: Notify,
}

struct SimFile {
    disk: SimDisk,
    file: usize,
}

impl SimDisk {
    /// With these files, durable.
    pub(crate) fn new(image: &Image) -> Self {
        let disk = Self::default();
        let mut state = disk.0.state.lock();
        for (file, (name, bytes)) in image.iter().enumerate() {
            state.names.insert(name.clone(), file);
            state.files.push(bytes.clone());
        }
        drop(state);
        disk
    }

    /// As it was after these calls: a process was killed, the machine runs on.
    pub(crate) fn resume(image: &Image, ops: &[Op]) -> Self {
        let disk = Self::new(image);
        let mut state = disk.0.state.lock();
        state.ops = ops.to_vec();
        for op in ops {
            match op {
                Op::Create { name, file } => {
                    state.names.insert(name.clone(), *file);
                    state.files.push(Vec::new());
                }
                Op::Remove { name } => drop(state.names.remove(name)),
                Op::Write { file, offset, bytes } => write(&mut state.files[*file], *offset, bytes),
                Op::SetLen { file, len } => state.files[*file].resize(*len, 0),
                Op::SyncNames | Op::Sync { .. } | Op::Began(_) | Op::Answered(_) => (),
            }
        }
        drop(state);
        disk
    }

    /// What a process would find that starts now, without a loss of power.
    pub(crate) fn image(&self) -> Image {
        let state = self.0.state.lock();
        state.names.iter().map(|(name, file)| (name.clone(), state.files[*file].clone())).collect()
    }

    pub(crate) fn ops(&self) -> Vec<Op> {
        self.0.state.lock().ops.clone()
    }

    pub(crate) fn mark(&self, op: Op) {
        self.0.state.lock().ops.push(op);
    }

    /// The next sync waits for [`SimDisk::release`].
    pub(crate) fn hold(&self) {
        self.0.state.lock().hold = true;
    }

    /// Returns once one waits.
    pub(crate) async fn held(&self) {
        self.0.held.notified().await;
    }

    pub(crate) fn release(&self) {
        self.0.state.lock().hold = false;
        self.0.released.notify_all();
    }

    /// How many bytes may be added from now on; `None`: any.
    pub(crate) fn set_free(&self, free: Option<usize>) {
        let mut state = self.0.state.lock();
        let used: usize = state.names.values().map(|file| state.files[*file].len()).sum();
        state.space = free.map(|free| used + free);
    }

    /// From now on nothing can be made durable.
    pub(crate) fn fail(&self) {
        self.0.state.lock().is_failing = true;
    }

    fn sync(&self, op: Op) -> io::Result<()> {
        let mut state = self.0.state.lock();
        while state.hold {
            self.0.held.notify_one();
            self.0.released.wait(&mut state);
        }
        if state.is_failing {
            return Err(io::Error::other("the disk is broken"));
        }
        state.ops.push(op);
        Ok(())
    }
}

impl Disk for SimDisk {
    fn path(&self) -> &Path {
        Path::new("/disk")
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.state.lock().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.0.state.lock();
        let file = state.files.len();
        if state.names.insert(name.to_owned(), file).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.files.push(Vec::new());
        state.ops.push(Op::Create { name: name.to_owned(), file });
        Ok(Arc::new(SimFile { disk: self.clone(), file }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.0.state.lock().names.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimFile { disk: self.clone(), file }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.state.lock();
        state.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        state.ops.push(Op::Remove { name: name.to_owned() });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        SimDisk::sync(self, Op::SyncNames)
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.0.state.lock().files[self.file].len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.disk.0.state.lock();
        let from = usize::try_from(offset).unwrap();
        let found = state.files[self.file].get(from..from + buffer.len());
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.0.state.lock();
        let offset = usize::try_from(offset).unwrap();
        let used: usize = state.names.values().map(|file| state.files[*file].len()).sum();
        let grows = (offset + bytes.len()).saturating_sub(state.files[self.file].len());
        let lacking = state.space.map_or(0, |space| (used + grows).saturating_sub(space));
        let written = &bytes[..bytes.len() - lacking.min(bytes.len())];
        write(&mut state.files[self.file], offset, written);
        state.ops.push(Op::Write { file: self.file, offset, bytes: written.to_vec() });
        match lacking {
            0 => Ok(()),
            _ => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.0.state.lock();
        let len = usize::try_from(len).unwrap();
        state.files[self.file].resize(len, 0);
        state.ops.push(Op::SetLen { file: self.file, len });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync(Op::Sync { file: self.file })
    }
}

fn write(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    file.resize(file.len().max(offset + bytes.len()), 0);
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// How much of what was not synced is kept.
#[derive(Clone, Copy)]
enum Kept {
    Nothing,
    /// As when only the process ends.
    Everything,
    /// Each call as a whole, or not.
    Calls,
    /// Each sector, or not.
    Sectors,
}

#[derive(Clone, Default)]
struct Unsynced {
    durable: Vec<u8>,
    pending: Vec<Op>,
}

/// The files after the power was cut when `ops` had been made on a disk that began as `image`.
pub(crate) fn cut_power(image: &Image, ops: &[Op], rng: &mut StdRng) -> Image {
    let durable = |bytes: &Vec<u8>| Unsynced { durable: bytes.clone(), pending: Vec::new() };
    let mut files: Vec<Unsynced> = image.values().map(durable).collect();
    let mut names: BTreeMap<String, usize> = image.keys().cloned().zip(0..).collect();
    let mut unsynced_names = Vec::new();
    for op in ops {
        match op {
            Op::Create { name, file } => {
                files.push(Unsynced::default());
                unsynced_names.push((name.clone(), Some(*file)));
            }
            Op::Remove { name } => unsynced_names.push((name.clone(), None)),
            Op::SyncNames => unsynced_names.drain(..).for_each(|change| rename(&mut names, change)),
            Op::Write { file, .. } | Op::SetLen { file, .. } => files[*file].pending.push(op.clone()),
            Op::Sync { file } => {
                let file = &mut files[*file];
                let pending = std::mem::take(&mut file.pending);
                pending.iter().for_each(|op| apply(&mut file.durable, op, Kept::Everything, rng));
            }
            Op::Began(_) | Op::Answered(_) => (),
        }
    }
    let kept = [Kept::Nothing, Kept::Everything, Kept::Calls, Kept::Sectors, Kept::Sectors];
    let kept = kept[rng.random_range(0..kept.len())];
    for change in unsynced_names {
        let keep = match kept {
            Kept::Nothing => false,
            Kept::Everything => true,
            Kept::Calls | Kept::Sectors => rng.random(),
        };
        if keep {
            rename(&mut names, change);
        }
    }
    for file in &mut files {
        for op in std::mem::take(&mut file.pending) {
            apply(&mut file.durable, &op, kept, rng);
        }
    }
    names.into_iter().map(|(name, file)| (name, std::mem::take(&mut files[file].durable))).collect()
}

fn rename(names: &mut BTreeMap<String, usize>, (name, file): (String, Option<usize>)) {
    match file {
        Some(file) => drop(names.insert(name, file)),
        None => drop(names.remove(&name)),
    }
}

fn apply(file: &mut Vec<u8>, op: &Op, kept: Kept, rng: &mut StdRng) {
    let whole = match kept {
        Kept::Nothing => return,
        Kept::Everything => true,
        Kept::Calls => match rng.random() {
            true => true,
            false => return,
        },
        Kept::Sectors => false,
    };
    match op {
        Op::SetLen { len, .. } if whole || rng.random() => file.resize(*len, 0),
        Op::Write { offset, bytes, .. } if whole => write(file, *offset, bytes),
        Op::Write { offset, bytes, .. } => sectors(file, *offset, bytes, rng),
        _ => (),
    }
}

/// Some sectors of a write; where the file grew without its data it has zeros, or rubbish.
fn sectors(file: &mut Vec<u8>, offset: usize, bytes: &[u8], rng: &mut StdRng) {
    let (share, rubbish, grows) = (rng.random_range(0.0..1.0), rng.random(), rng.random());
    let old_len = file.len();
    let mut at = 0;
    while at < bytes.len() {
        let next = ((offset + at) / SECTOR_BYTES + 1) * SECTOR_BYTES - offset;
        let sector = &bytes[at..next.min(bytes.len())];
        if rng.random_bool(share) {
            write(file, offset + at, sector);
        } else if grows {
            let beyond = (offset + at).max(old_len)..(offset + at + sector.len()).max(old_len);
            file.resize(file.len().max(beyond.end), 0);
            if rubbish {
                rng.fill(&mut file[beyond]);
            }
        }
        at += sector.len();
    }
}
