//! The queue before a backend: how long a request waits for its event to be written, and what happens when it is full.

use crate::{
    event::Event,
    metrics::{Metrics, Plugin},
};
use std::sync::Arc;
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};

/// How a backend is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Not at all: what does not fit into the queue is lost, and counted.
    Batch,
    /// Until the event is written, or could not be.
    Blocking,
    /// The same; a request whose first event cannot be written is refused.
    BlockingStrict,
}

/// What becomes of long events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Truncate {
    /// Bytes of an event; None for any.
    pub event_bytes_max: Option<usize>,
}

/// One event on its way, and who waits for it.
pub(crate) struct Item {
    pub(crate) event: Arc<Event>,
    /// Hears whether it was written.
    pub(crate) done: Option<oneshot::Sender<bool>>,
}

impl Item {
    /// Tells whoever waits.
    pub(crate) fn finish(self, written: bool) {
        if let Some(done) = self.done {
            // Whoever waited may have gone away with his connection.
            let _ = done.send(written);
        }
    }
}

/// The end of a queue that requests put events into.
#[derive(Clone)]
pub(crate) struct Queue {
    mode: Mode,
    events: mpsc::Sender<Item>,
    metrics: Arc<Metrics>,
}

impl Queue {
    /// A queue for so many events, and the end that the backend takes them from.
    pub(crate) fn new(mode: Mode, events_max: usize, metrics: Arc<Metrics>) -> (Self, mpsc::Receiver<Item>) {
        let (events, taken) = mpsc::channel(events_max.max(1));
        (Self { mode, events, metrics }, taken)
    }

    /// Puts an event in and waits as the mode says. False where it is not written and should have been.
    pub(crate) async fn put(&self, event: &Arc<Event>) -> bool {
        if self.mode == Mode::Batch {
            self.put_now(event);
            return true;
        }
        let (done, written) = oneshot::channel();
        let item = Item { event: event.clone(), done: Some(done) };
        let written = match self.events.send(item).await {
            Ok(()) => written.await.unwrap_or(false),
            Err(_) => false,
        };
        written || self.mode == Mode::Blocking
    }

    /// Puts an event in without waiting for anything.
    pub(crate) fn put_now(&self, event: &Arc<Event>) {
        match self.events.try_send(Item { event: event.clone(), done: None }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                self.metrics.lost(Plugin::Buffered, 1);
                tracing::error!(
                    audit_id = event.facts.audit_id,
                    "the audit log's queue is full: an event is lost"
                );
            }
            Err(TrySendError::Closed(_)) => {
                self.metrics.lost(Plugin::Buffered, 1);
                tracing::error!(audit_id = event.facts.audit_id, "the audit log is closed: an event is lost");
            }
        }
    }
}
