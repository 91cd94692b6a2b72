//! The newest revision, linearizable, shared: everybody who asks while a read is on its way gets the answer of the
//! next one, which begins after they asked. So at most one read is in flight, whatever the number of readers.

use super::{Calls, convert::Refusal};
use crate::contract::{Revision, StoreError};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

/// Readers that wait; more wait for their turn to wait.
const WAITING_MAX: usize = 4_096;

type Answer = oneshot::Sender<Result<Revision, Refusal>>;

/// Asks etcd for its revision.
pub(super) struct Revisions {
    asking: mpsc::Sender<Answer>,
    _reader: AbortOnDropHandle<()>,
}

impl Revisions {
    /// Starts the task that reads.
    pub(super) fn start(calls: Calls) -> Self {
        let (asking, asked) = mpsc::channel(WAITING_MAX);
        Self { asking, _reader: AbortOnDropHandle::new(tokio::spawn(answer_all(calls, asked))) }
    }

    /// At least that of every commit answered before this call.
    pub(super) async fn newest(&self) -> Result<Revision, StoreError> {
        const DOING: &str = "reading etcd's revision";
        let (answer, answered) = oneshot::channel();
        self.asking.send(answer).await.map_err(|error| StoreError::unavailable(DOING, error.to_string()))?;
        let revision = answered.await.map_err(|error| StoreError::unavailable(DOING, error))?;
        revision.map_err(|refusal| refusal.unavailable(DOING))
    }
}

async fn answer_all(calls: Calls, mut asked: mpsc::Receiver<Answer>) {
    let mut waiting = Vec::new();
    while asked.recv_many(&mut waiting, WAITING_MAX).await > 0 {
        let revision = calls.revision().await;
        for answer in waiting.drain(..) {
            // Whoever asked may have gone.
            let _ = answer.send(revision.clone());
        }
    }
}
