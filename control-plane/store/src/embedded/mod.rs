//! The embedded store: one process, one folder, no server. The engine (fjall, a log-structured tree) only lasts; this
//! module owns the folder, the threads and the answers.
//!
//! ```text
//!  commit() ─► queue ─► writer thread: a group of transactions ─► one fsync ─► ring + snapshot ─► answers, watchers
//!  get(), list() ─► the snapshot that was published with the newest revision (never ahead of what watchers may see)
//! ```
//!
//! Values live in the engine and nowhere else: the cache above holds every body already. In memory are the ring of
//! recent commits ([`HistoryLimits`]), the deadlines of keys that have one, and the engine's small caches.

mod deadlines;
mod engine;
mod folder;
mod group;
mod reader;
mod record;
mod writer;

use crate::{
    contract::{KeyValue, Listing, Revision, Store, StoreError, Txn, TxnOutcome, WatchStream},
    history::{History, HistoryLimits},
};
use async_trait::async_trait;
use engine::Engine;
use folder::Folder;
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
    /// The engine's cache of blocks.
    pub cache_bytes: u64,
    /// The engine's write buffer: what is replayed at start, and held in memory until it is flushed to a table.
    pub write_buffer_bytes: u64,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        Self {
            history: HistoryLimits::default(),
            cache_bytes: 8 * 1_024 * 1_024,
            write_buffer_bytes: 4 * 1_024 * 1_024,
        }
    }
}

/// The store in a folder of this machine. Dropping it waits for the group that is being written, then gives the folder
/// back.
pub struct Embedded {
    /// `None` only while it is dropped.
    queue: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
    turns: Arc<Semaphore>,
    history: Arc<History<fjall::Snapshot>>,
    reader: Reader,
    /// The lock; dropped last.
    _folder: Folder,
}

impl Embedded {
    /// Opens the store in `folder`, or makes an empty one there.
    ///
    /// # Errors
    /// [`StoreError::Locked`] while another process has it, [`StoreError::Corrupt`] where its content is not ours.
    pub fn open(folder: &Path, config: &EmbeddedConfig) -> Result<Self, StoreError> {
        let folder = Folder::open(folder)?;
        let engine = Engine::open(&folder.engine_path(), config)?;
        let revision = engine.revision()?;
        let deadlines = engine.deadlines()?;
        let history = History::new(revision, engine.snapshot(), config.history);
        let reader = Reader::new(&engine, history.clone());
        let (queue, requests) = mpsc::channel();
        let writer = Writer::new(engine, history.clone(), requests, revision, deadlines);
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

    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        self.history.compact(before)
    }
}
