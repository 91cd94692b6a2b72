//! The writer: the one thread that changes the log. It takes what is queued, makes a group of it, writes and syncs
//! it once, publishes it, and only then answers. While it syncs, the next group gathers in the queue.

use super::{
    deadlines::Deadlines,
    group::{Finished, Group},
    log::{AppendError, Index, Log},
};
use crate::{
    contract::{StoreError, Txn, TxnOutcome},
    history::History,
};
use std::{
    io,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, SystemTime},
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

/// Expiries that a full disk refused are tried again after this.
const FULL_RETRY: Duration = Duration::from_secs(1);

/// The writer's state.
pub(super) struct Writer {
    log: Log,
    history: Arc<History<Index>>,
    requests: Receiver<Request>,
    deadlines: Deadlines,
    /// Whether the last group found the disk full.
    is_full: bool,
}

impl Writer {
    pub(super) fn new(
        log: Log,
        history: Arc<History<Index>>,
        requests: Receiver<Request>,
        deadlines: Deadlines,
    ) -> Self {
        Self { log, history, requests, deadlines, is_full: false }
    }

    /// Works until the queue's sender is gone.
    pub(super) fn run(mut self) {
        while let Some(requests) = self.gather() {
            self.write(requests);
        }
        self.log.close();
    }

    /// Waits for a transaction or a deadline, and takes with it what is queued already. `None`: the store is closed.
    fn gather(&self) -> Option<Vec<Request>> {
        let at_least = if self.is_full { FULL_RETRY } else { Duration::ZERO };
        let first = match self.deadlines.idle(SystemTime::now()) {
            None => Some(self.requests.recv().ok()?),
            Some(idle) => match self.requests.recv_timeout(idle.max(at_least)) {
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
        let index = self.log.snapshot();
        let mut group = Group::new(&index, &mut self.deadlines, self.log.revision(), now);
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
        let full = self.finish(finished);
        for (outcome, answer, _turn) in answers {
            let outcome = match &full {
                // Also a conflict may be with what is not there now.
                Some(error) => Err(self.full(error)),
                None => outcome,
            };
            // Whoever asked may have gone; the transaction stands.
            let _ = answer.send(outcome);
        }
    }

    /// Makes the group durable and shows it; or the reason why there is none of it.
    fn finish(&mut self, finished: Finished) -> Option<io::Error> {
        if finished.recorded.is_empty() {
            return None;
        }
        match self.log.write(&finished.changes, finished.revision) {
            Ok(()) => {
                if std::mem::take(&mut self.is_full) {
                    tracing::info!("the disk has space again; writes go on");
                }
                self.history.publish(self.log.snapshot(), finished.recorded);
                None
            }
            Err(AppendError::Full(error)) => {
                if !std::mem::replace(&mut self.is_full, true) {
                    tracing::error!(%error, folder = %self.log.path().display(), "the disk is full; writes are refused until there is space");
                }
                finished.undo(&mut self.deadlines);
                Some(error)
            }
            Err(AppendError::Broken(error)) => die(&error),
        }
    }

    fn full(&self, error: &io::Error) -> StoreError {
        StoreError::Full { path: self.log.path().display().to_string(), reason: error.to_string() }
    }
}

/// After a failed write or fsync nobody knows what is on disk: the page cache may have dropped what it could not write
/// (Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020). The next start reads what is there.
fn die(error: &io::Error) -> ! {
    tracing::error!(%error, "the store cannot make a write durable; the process ends, so that nothing unsaved is shown");
    eprintln!("keelson: the store cannot make a write durable, the process ends: {error}");
    std::process::abort();
}
