//! The embedded store: one process, one folder, no server. The log (`log/`) only lasts; this module owns the folder, the
//! threads and the answers.
//!
//! ```text
//!  commit() ─► queue ─► writer thread: a group of transactions ─► one fsync ─► ring + index ─► answers, watchers
//!  get(), list() ─► the index that was published with the newest revision (never ahead of what watchers may see)
//! ```
//!
//! Values live in files and nowhere else: the cache above holds every body already. In memory are the keys with the places
//! of their values, the deadlines of keys that have one, and the ring of recent commits ([`HistoryLimits`]).
//!
//! A disk that is full refuses writes ([`StoreError::Full`]), reads go on, and writes do as soon as there is space. A write
//! that fails otherwise, and a failed fsync, end the process.

mod deadlines;
mod disk;
mod folder;
mod group;
mod log;
mod reader;
mod snapshot;
mod writer;

pub use disk::{Disk, DiskFile};
pub use snapshot::{Snapshot, encode};

use crate::{
    contract::{Export, KeyValue, Listing, Revision, Store, StoreError, Txn, TxnOutcome, WatchStream},
    history::{History, HistoryLimits},
};
use async_trait::async_trait;
use disk::RealDisk;
use folder::Folder;
use log::{Index, Log};
use reader::Reader;
use std::{
    path::Path,
    sync::{Arc, mpsc},
    thread::JoinHandle,
};
use tokio::sync::{Semaphore, oneshot};
use writer::{Request, Writer};

/// Transactions that wait for the writer; more wait for their turn to wait.
const QUEUE_TXNS_MAX: usize = 4_096;

/// What the embedded store may use.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddedConfig {
    /// The past that is kept in memory.
    pub history: HistoryLimits,
    /// A file of the log that has grown to this is followed by the next. Space is given back a file at a time.
    pub segment_bytes_max: u64,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        Self { history: HistoryLimits::default(), segment_bytes_max: 8 * 1_024 * 1_024 }
    }
}

/// The store in a folder of this machine. Dropping it waits for the group that is being written, then gives the folder
/// back.
pub struct Embedded {
    /// `None` only while it is dropped.
    queue: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
    turns: Arc<Semaphore>,
    history: Arc<History<Index>>,
    reader: Reader,
    disk: Arc<dyn Disk>,
    /// The lock; dropped last. `None` on a disk that is not this machine's.
    _folder: Option<Folder>,
}

impl Embedded {
    /// Opens the store in `folder`, or makes an empty one there.
    ///
    /// # Errors
    /// [`StoreError::Locked`] while another process has it, [`StoreError::Corrupt`] where anything in it is not as it was
    /// written: with the file and the place.
    pub fn open(folder: &Path, config: &EmbeddedConfig) -> Result<Self, StoreError> {
        let folder = Folder::open(folder)?;
        let disk = Arc::new(RealDisk::new(&folder.log_path()));
        Self::start(disk, config, Some(folder))
    }

    /// The store on a disk that the caller gives it and nobody else: for tests of what is left after a loss of power.
    pub fn open_on(disk: Arc<dyn Disk>, config: &EmbeddedConfig) -> Result<Self, StoreError> {
        Self::start(disk, config, None)
    }

    fn start(
        disk: Arc<dyn Disk>,
        config: &EmbeddedConfig,
        folder: Option<Folder>,
    ) -> Result<Self, StoreError> {
        let (log, deadlines) = Log::open(disk.clone(), config.segment_bytes_max)?;
        let history = History::new(log.revision(), log.snapshot(), config.history);
        let reader = Reader::new(history.clone());
        let (queue, requests) = mpsc::channel();
        let writer = Writer::new(log, history.clone(), requests, deadlines);
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| StoreError::unavailable("starting the writer thread", error))?;
        Ok(Self {
            queue: Some(queue),
            writer: Some(writer),
            turns: Arc::new(Semaphore::new(QUEUE_TXNS_MAX)),
            history,
            reader,
            disk,
            _folder: folder,
        })
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.history.close();
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            // Its only panic would be a bug, and has been printed by the time it is seen here.
            let _ = writer.join();
        }
    }
}

#[async_trait]
impl Store for Embedded {
    async fn commit(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        const DOING: &str = "writing a transaction";
        txn.check()?;
        let turn = self.turns.clone().acquire_owned().await;
        let turn = turn.map_err(|error| StoreError::unavailable(DOING, error))?;
        let (answer, answered) = oneshot::channel();
        let queue =
            self.queue.as_ref().ok_or_else(|| StoreError::unavailable(DOING, "the store is closing"))?;
        queue
            .send(Request { txn, answer, _turn: turn })
            .map_err(|_| StoreError::unavailable(DOING, "the writer has ended"))?;
        answered.await.map_err(|error| StoreError::unavailable(DOING, error))?
    }

    /// The files of the log, as the disk has them.
    async fn sizes(&self) -> Result<Vec<(String, u64)>, StoreError> {
        const DOING: &str = "measuring the log";
        let disk = self.disk.clone();
        let measured = tokio::task::spawn_blocking(move || disk::total_bytes(&*disk)).await;
        let measured = measured.map_err(|error| StoreError::unavailable(DOING, error))?;
        let bytes = measured.map_err(|error| StoreError::unavailable(DOING, error))?;
        Ok(vec![("embedded".to_owned(), bytes)])
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        Ok(self.history.revision())
    }

    async fn get(&self, key: &str) -> Result<Option<KeyValue>, StoreError> {
        self.reader.get(key).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Listing, StoreError> {
        self.reader.list(prefix, after, limit, at).await
    }

    async fn watch(&self, after: Revision) -> Result<WatchStream, StoreError> {
        self.history.watch(after)
    }

    async fn export(&self) -> Result<Export, StoreError> {
        self.reader.export()
    }

    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        self.history.compact(before)
    }
}
