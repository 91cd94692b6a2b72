//! The webhook backend: events in batches, posted as an EventList to a program of the operator's.
//!
//! ```text
//! queue ──> collect (as many as fit, or as come within the wait) ──> throttle ──> post, again after a backoff
//! ```
//! In the blocking modes whoever has an event there waits for its post, so nothing is collected beyond what is there. Rules and
//! defaults: <https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/#webhook-backend>, `apiserver/plugin/pkg/audit`.

use crate::{
    batch::{Batching, Bucket, Throttle},
    metrics::{Metrics, Plugin},
    queue::{Item, Mode, Truncate},
};
use bytes::Bytes;
use keelson_webhook::{CallError, Limits, Remote};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::Instant,
};

/// How long one post may take.
const POST_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an answer, which nobody reads.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Posts of one batch until it is lost.
const POSTS_MAX: u32 = 5;
/// What each backoff is longer by than the one before.
const BACKOFF_FACTOR: f64 = 1.5;
/// Batches under way at a time; the next one waits, and events with it.
const IN_FLIGHT_MAX: usize = 16;

/// What the backend is told.
pub struct WebhookConfig {
    /// Who gets the events.
    pub remote: Remote,
    /// How requests wait.
    pub mode: Mode,
    /// Events that may wait to be collected.
    pub queue_events_max: usize,
    /// Events of a batch.
    pub batch_events_max: usize,
    /// How long a batch that is not full waits for more, in [`Mode::Batch`].
    pub batch_wait: Duration,
    /// Of batches, in [`Mode::Batch`].
    pub throttle: Option<Throttle>,
    /// Before a batch that could not be posted is posted again.
    pub initial_backoff: Duration,
    /// What becomes of long events.
    pub truncate: Truncate,
    /// Bytes of the events of a batch; a longer one is sent in parts.
    pub batch_bytes_max: Option<usize>,
}

/// Starts the task. It ends when the queue's other end is gone, or once `closing` is true and what is queued is sent.
pub(crate) fn start(
    config: WebhookConfig,
    events: mpsc::Receiver<Item>,
    closing: watch::Receiver<bool>,
    metrics: Arc<Metrics>,
) -> JoinHandle<()> {
    tokio::spawn(Arc::new(Backend { config, metrics }).run(events, closing))
}

struct Backend {
    config: WebhookConfig,
    metrics: Arc<Metrics>,
}

/// Events that go together.
struct Part {
    items: Vec<Item>,
    body: Vec<u8>,
}

impl Backend {
    async fn run(self: Arc<Self>, mut events: mpsc::Receiver<Item>, mut closing: watch::Receiver<bool>) {
        let is_batch = self.config.mode == Mode::Batch;
        let wait = if is_batch { self.config.batch_wait } else { Duration::ZERO };
        let batching = Batching { events_max: self.config.batch_events_max, wait };
        let mut bucket = self.config.throttle.filter(|_| is_batch).map(Bucket::new);
        let mut sending = JoinSet::new();
        loop {
            let mut batch = Vec::new();
            let more = batching.collect(&mut events, &mut closing, &mut batch).await;
            if let Some(bucket) = bucket.as_mut().filter(|_| more && !batch.is_empty()) {
                tokio::time::sleep(bucket.take(Instant::now())).await;
            }
            for part in self.parts(batch) {
                if sending.len() >= IN_FLIGHT_MAX {
                    sending.join_next().await;
                }
                sending.spawn(self.clone().send(part));
            }
            while sending.try_join_next().is_some() {}
            if !more {
                break;
            }
        }
        while sending.join_next().await.is_some() {}
    }

    /// The batch as it is posted, in as many parts as its length asks for. What is too long by itself is lost.
    fn parts(&self, batch: Vec<Item>) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        for item in batch {
            let Some(line) = item.event.line(self.config.truncate.event_bytes_max) else {
                self.metrics.lost(Plugin::Truncate, 1);
                tracing::error!(
                    audit_id = item.event.facts.audit_id,
                    "an audit event is too long and was lost"
                );
                item.finish(false);
                continue;
            };
            let most = self.config.batch_bytes_max.unwrap_or(usize::MAX);
            match parts.last_mut().filter(|part| part.body.len() + line.len() <= most) {
                Some(part) => {
                    part.body.push(b',');
                    part.body.extend_from_slice(&line);
                    part.items.push(item);
                }
                None => parts.push(Part { items: vec![item], body: line }),
            }
        }
        parts
    }

    /// Posts until it is taken, and tells whoever waits.
    async fn send(self: Arc<Self>, part: Part) {
        let list = [
            br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":["#,
            &*part.body,
            b"]}",
        ];
        let outcome = self.post(Bytes::from(list.concat())).await;
        if let Err(error) = &outcome {
            self.metrics.lost(Plugin::Webhook, part.items.len() as u64);
            tracing::error!(%error, events = part.items.len(), "the audit webhook did not take events: they are lost");
        }
        part.items.into_iter().for_each(|item| item.finish(outcome.is_ok()));
    }

    async fn post(&self, list: Bytes) -> Result<(), CallError> {
        let limits = Limits { timeout: POST_TIMEOUT, answer_bytes_max: ANSWER_BYTES_MAX };
        let mut backoff = self.config.initial_backoff;
        let mut posts = 1;
        loop {
            match self.config.remote.post(list.clone(), limits).await {
                Ok(_) => return Ok(()),
                Err(error) if posts < POSTS_MAX && is_worth_another(&error) => {
                    tracing::warn!(%error, ?backoff, "the audit webhook is asked again");
                }
                Err(error) => return Err(error),
            }
            tokio::time::sleep(backoff).await;
            backoff = backoff.mul_f64(BACKOFF_FACTOR);
            posts += 1;
        }
    }
}

/// Whether what went wrong may go by (upstream's `DefaultShouldRetry`, and a connection that is refused).
fn is_worth_another(error: &CallError) -> bool {
    match error {
        CallError::Transport { .. } | CallError::Timeout { .. } => true,
        CallError::Status { code, .. } => matches!(code, 429 | 500 | 504),
        CallError::Url { .. } | CallError::Broken { .. } | CallError::TooLarge { .. } => false,
    }
}

#[cfg(test)]
mod tests;
