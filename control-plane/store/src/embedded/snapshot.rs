//! A snapshot file: everything of a store at one revision, checksummed, in the embedded store's own format, so that
//! restoring it is checking it and putting it in its place. Values are as they were stored: what was encrypted is.

use super::{
    Folder, deadlines,
    disk::{Disk, DiskFile, RealDisk},
    log::{Encoder, Index, Record, read_whole},
    reader,
};
use crate::contract::{Export, Exported, Revision, StoreError};
use bytes::Bytes;
use futures::{StreamExt as _, stream::BoxStream};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

/// The file's bytes, a piece at a time. Ends after its first error; without one the last piece says that it is whole.
pub fn encode(export: Export) -> BoxStream<'static, Result<Bytes, StoreError>> {
    let (encoder, first) = Encoder::new(export.revision);
    let state = Some((encoder, export.items));
    let rest = futures::stream::unfold(state, |state| async {
        let (mut encoder, mut items) = state?;
        loop {
            match items.next().await {
                Some(Ok(Exported { kv, ttl })) => {
                    let deadline = ttl.map_or(0, |ttl| deadlines::deadline(SystemTime::now(), ttl));
                    if let Some(piece) = encoder.push(&Record { kv, deadline }) {
                        return Some((Ok(Bytes::from(piece)), Some((encoder, items))));
                    }
                }
                Some(Err(error)) => return Some((Err(error), None)),
                None => return Some((Ok(Bytes::from(encoder.finish())), None)),
            }
        }
    });
    Box::pin(futures::stream::iter([Ok(Bytes::from(first))]).chain(rest))
}

/// A snapshot file that was read and is whole.
pub struct Snapshot {
    path: PathBuf,
    index: Index,
    revision: Revision,
    keys: usize,
}

impl Snapshot {
    /// Reads and checks the whole file.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], with the place, where a bit is not as it was written or the end is missing.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let (index, revision) = read_whole(Arc::new(OneFile { path: path.to_owned() }))?;
        let keys = index.len();
        Ok(Self { path: path.to_owned(), index, revision, keys })
    }

    /// The revision that it shows.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// How many keys it has.
    pub fn keys(&self) -> usize {
        self.keys
    }

    /// What is in it.
    pub fn export(&self) -> Export {
        reader::export(self.index.clone(), self.revision)
    }

    /// Makes an embedded store of it in `folder`, with every revision as it was. All or nothing.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] where there is a store already, [`StoreError::Locked`] while a process has it.
    pub fn restore(&self, folder: &Path) -> Result<(), StoreError> {
        let folder = Folder::open(folder)?;
        let log = folder.log_path();
        let failed = |error: io::Error| {
            let text = format!("{}: {error}", log.display());
            StoreError::unavailable("restoring a snapshot", io::Error::new(error.kind(), text))
        };
        let disk = RealDisk::new(&log);
        if disk.list().map_err(failed)?.iter().any(|name| name.ends_with(".log")) {
            return Err(StoreError::Invalid(format!("{} has a store already", log.display())));
        }
        // A name that is no segment's until the bytes are safe.
        let (new, whole) = (log.join("restoring"), log.join("00000001.log"));
        fs::copy(&self.path, &new).map_err(failed)?;
        fs::File::open(&new).and_then(|file| file.sync_all()).map_err(failed)?;
        fs::rename(&new, &whole).map_err(failed)?;
        disk.sync().map_err(failed)
    }
}

/// A file anywhere as the only segment of a disk, for reading.
struct OneFile {
    path: PathBuf,
}

/// It has been found whole, so that there is nothing to cut or to sync.
struct ReadOnly(fs::File);

fn refused() -> io::Error {
    io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "a snapshot is only read")
}

impl Disk for OneFile {
    fn path(&self) -> &Path {
        &self.path
    }
    fn path_of(&self, _: &str) -> PathBuf {
        self.path.clone()
    }
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(vec!["00000001.log".to_owned()])
    }
    fn create(&self, _: &str) -> io::Result<Arc<dyn DiskFile>> {
        Err(refused())
    }
    fn open(&self, _: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(ReadOnly(fs::File::open(&self.path)?)))
    }
    fn remove(&self, _: &str) -> io::Result<()> {
        Err(refused())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for ReadOnly {
    fn len(&self) -> io::Result<u64> {
        DiskFile::len(&self.0)
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        DiskFile::read_at(&self.0, buffer, offset)
    }
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(refused())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        if DiskFile::len(&self.0)? == len { Ok(()) } else { Err(refused()) }
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
