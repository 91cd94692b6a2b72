//! The engine's files and keyspaces: what is written where, and how it is read back. No transactions, no history.
//!
//! Three keyspaces share one journal, so that a batch over them is atomic: `objects` (key to record), `deadlines` (key
//! to deadline, only keys that have one, so that a start need not read every object), `meta` (the newest revision).

use super::{
    EmbeddedConfig,
    deadlines::Deadlines,
    record::{self, Deadline, Record},
};
use crate::contract::{Revision, StoreError};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};
use std::{path::Path, sync::Arc};

/// The engine keeps at least this much journal before it insists on flushing; its own minimum.
const JOURNAL_BYTES_MAX: u64 = 64 * 1_024 * 1_024;
/// One flushes while the other compacts.
const ENGINE_THREADS: usize = 2;
const OPEN_FILES_MAX: usize = 64;
const REVISION: &str = "revision";

/// The engine, open.
pub(super) struct Engine {
    database: Database,
    objects: Keyspace,
    deadlines: Keyspace,
    meta: Keyspace,
}

/// One key's part of a batch.
pub(super) struct Change {
    pub(super) key: Arc<str>,
    /// The new state, or deleted.
    pub(super) record: Option<Record>,
    /// Whether the deadline has to be written too (it was or becomes one).
    pub(super) deadline_changes: bool,
}

impl Engine {
    /// Opens the engine's folder; an interrupted write at the journal's end is cut off.
    pub(super) fn open(path: &Path, config: &EmbeddedConfig) -> Result<Self, StoreError> {
        let database = Database::builder(path)
            .cache_size(config.cache_bytes)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .max_cached_files(Some(OPEN_FILES_MAX))
            .worker_threads(ENGINE_THREADS)
            .open()
            .map_err(opening)?;
        let keyspace = |name| {
            let options = || KeyspaceCreateOptions::default().max_memtable_size(config.write_buffer_bytes);
            database.keyspace(name, options).map_err(opening)
        };
        let (objects, deadlines, meta) = (keyspace("objects")?, keyspace("deadlines")?, keyspace("meta")?);
        Ok(Self { objects, deadlines, meta, database })
    }

    /// The newest revision that was written.
    pub(super) fn revision(&self) -> Result<Revision, StoreError> {
        match self.meta.get(REVISION).map_err(reading)? {
            Some(stored) => record::number(&stored).ok_or_else(|| {
                StoreError::Corrupt(format!("the revision counter has {} bytes", stored.len()))
            }),
            None if self.objects.is_empty().map_err(reading)? => Ok(0),
            None => Err(StoreError::Corrupt("there are objects, but no revision counter".to_owned())),
        }
    }

    /// Every key that has a deadline.
    pub(super) fn deadlines(&self) -> Result<Deadlines, StoreError> {
        let mut deadlines = Deadlines::default();
        for entry in self.deadlines.iter() {
            let (key, stored) = entry.into_inner().map_err(reading)?;
            let key = record::key(&key)?;
            let deadline = record::number(&stored).ok_or_else(|| {
                StoreError::Corrupt(format!("the deadline of {key:?} has {} bytes", stored.len()))
            })?;
            deadlines.change(&key, 0, deadline);
        }
        Ok(deadlines)
    }

    /// A key's newest state.
    pub(super) fn read(&self, key: &Arc<str>) -> Result<Option<Record>, StoreError> {
        let stored = self.objects.get(&**key).map_err(reading)?;
        stored.map(|stored| Record::decode(key.clone(), &stored)).transpose()
    }

    /// Writes all changes or none, and returns once they are on disk.
    pub(super) fn write(&self, changes: Vec<Change>, revision: Revision) -> Result<(), fjall::Error> {
        // fdatasync: the journal's length, which reading it back needs, is synced with it.
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for change in changes {
            let deadline = change.record.as_ref().map_or(0, |record| record.deadline);
            if change.deadline_changes {
                self.write_deadline(&mut batch, &change.key, deadline);
            }
            match change.record {
                Some(record) => batch.insert(&self.objects, &*change.key, record.encode()),
                None => batch.remove(&self.objects, &*change.key),
            }
        }
        batch.insert(&self.meta, REVISION, revision.to_be_bytes());
        batch.commit()
    }

    fn write_deadline(&self, batch: &mut fjall::OwnedWriteBatch, key: &str, deadline: Deadline) {
        match deadline {
            0 => batch.remove(&self.deadlines, key),
            _ => batch.insert(&self.deadlines, key, deadline.to_be_bytes()),
        }
    }

    /// What is on disk now; later writes do not change it.
    pub(super) fn snapshot(&self) -> Snapshot {
        self.database.snapshot()
    }

    /// For readers of snapshots.
    pub(super) fn objects(&self) -> Objects {
        Objects { keyspace: self.objects.clone() }
    }
}

/// The objects as readers see them, through a snapshot.
#[derive(Clone)]
pub(super) struct Objects {
    keyspace: Keyspace,
}

impl Objects {
    /// One key.
    pub(super) fn get(&self, snapshot: &Snapshot, key: &str) -> Result<Option<Record>, StoreError> {
        let stored = snapshot.get(&self.keyspace, key).map_err(reading)?;
        stored.map(|stored| Record::decode(key.into(), &stored)).transpose()
    }

    /// Keys under `prefix` and after `after`, in order.
    pub(super) fn range(
        &self,
        snapshot: &Snapshot,
        prefix: &str,
        after: Option<&str>,
    ) -> impl Iterator<Item = Result<Record, StoreError>> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let from = match after {
            Some(after) if after >= prefix => Excluded(after.to_owned()),
            _ => Included(prefix.to_owned()),
        };
        let prefix = prefix.to_owned();
        snapshot.range(&self.keyspace, (from, Unbounded)).map_while(move |entry| {
            let (key, stored) = match entry.into_inner() {
                Ok(pair) => pair,
                Err(error) => return Some(Err(reading(error))),
            };
            key.starts_with(prefix.as_bytes())
                .then(|| record::key(&key).and_then(|key| Record::decode(key, &stored)))
        })
    }
}

/// The engine's own complaints about its files are corruption, and so is a file that is missing or ends early; other
/// errors of the system are not.
fn classify(doing: &'static str, error: fjall::Error) -> StoreError {
    use std::io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
    let unavailable = match &error {
        fjall::Error::Io(io) | fjall::Error::Storage(fjall::LsmError::Io(io)) => {
            !matches!(io.kind(), InvalidData | NotFound | UnexpectedEof)
        }
        fjall::Error::Poisoned | fjall::Error::Locked => true,
        _ => false,
    };
    match unavailable {
        true => StoreError::unavailable(doing, error),
        false => StoreError::Corrupt(format!("the engine, {doing}: {error}")),
    }
}

fn opening(error: fjall::Error) -> StoreError {
    classify("opening its files", error)
}

fn reading(error: fjall::Error) -> StoreError {
    classify("reading", error)
}
