//! The writer: the one thread that changes the engine. It takes what is queued, makes a group of it, writes and syncs
//! it once, publishes it, and only then answers. While it syncs, the next group gathers in the queue.

use super::{deadlines::Deadlines, engine::Engine, group::Group};
use crate::{
    contract::{Revision, StoreError, Txn, TxnOutcome},
    history::History,
};
use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::SystemTime,
};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// Transactions in a group: bounds how long the first of them waits for the last.
const GROUP_TXNS_MAX: usize = 512;
/// Keys and values in a group (one transaction may go beyond).
const GROUP_BYTES_MAX: usize = 4 * 1_024 * 1_024;

/// A transaction that waits for its answer.
pub(super) struct Request {
    pub(super) txn: Txn,
    pub(super) answer: oneshot::Sender<Result<TxnOutcome, StoreError>>,
    /// Its place in the queue.
    pub(super) _turn: OwnedSemaphorePermit,
}

/// The writer's state.
pub(super) struct Writer {
    engine: Engine,
    history: Arc<History<fjall::Snapshot>>,
    requests: Receiver<Request>,
    revision: Revision,
    deadlines: Deadlines,
}

impl Writer {
    pub(super) fn new(
        engine: Engine,
        history: Arc<History<fjall::Snapshot>>,
        requests: Receiver<Request>,
        revision: Revision,
        deadlines: Deadlines,
    ) -> Self {
        Self { engine, history, requests, revision, deadlines }
    }

    /// Works until the queue's sender is gone.
    pub(super) fn run(mut self) {
        while let Some(requests) = self.gather() {
            self.write(requests);
        }
    }

    /// Waits for a transaction or a deadline, and takes with it what is queued already. `None`: the store is closed.
    fn gather(&self) -> Option<Vec<Request>> {
        let first = match self.deadlines.idle(SystemTime::now()) {
            None => Some(self.requests.recv().ok()?),
            Some(idle) => match self.requests.recv_timeout(idle) {
                Ok(request) => Some(request),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return None,
            },
        };
        let mut group: Vec<_> = first.into_iter().collect();
        let mut bytes = group.iter().map(|request| request.txn.bytes()).sum::<usize>();
        while group.len() < GROUP_TXNS_MAX && bytes < GROUP_BYTES_MAX {
            let Ok(request) = self.requests.try_recv() else { break };
            bytes += request.txn.bytes();
            group.push(request);
        }
        Some(group)
    }

    fn write(&mut self, requests: Vec<Request>) {
        let now = SystemTime::now();
        let due = self.deadlines.due(now, GROUP_TXNS_MAX);
        let mut group = Group::new(&self.engine, &mut self.deadlines, self.revision, now);
        for (deadline, key) in due {
            if let Err(error) = group.expire(key, deadline) {
                tracing::error!(%error, "an expired key cannot be read; it is tried again");
            }
        }
        let answers: Vec<_> = requests
            .into_iter()
            .map(|request| (group.apply(request.txn), request.answer, request._turn))
            .collect();
        let finished = group.finish();
        if !finished.recorded.is_empty() {
            if let Err(error) = self.engine.write(finished.changes, finished.revision) {
                die(&error);
            }
            self.revision = finished.revision;
            self.history.publish(self.engine.snapshot(), finished.recorded);
        }
        for (outcome, answer, _turn) in answers {
            // Whoever asked may have gone; the transaction stands.
            let _ = answer.send(outcome);
        }
    }
}

/// After a failed write or fsync nobody knows what is on disk: the page cache may have dropped what it could not write
/// (Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020). The next start reads what is there.
fn die(error: &fjall::Error) -> ! {
    tracing::error!(%error, "the store cannot make a write durable; the process ends, so that nothing unsaved is shown");
    eprintln!("keelson: the store cannot make a write durable, the process ends: {error}");
    std::process::abort();
}
