//! The policy, and the backends that everything goes to which it has recorded.

use crate::{
    event::Event,
    log::{self, LogConfig, LogError},
    metrics::Metrics,
    policy::{Decision, Policy, Stage},
    queue::{Mode, Queue},
    webhook::{self, WebhookConfig},
};
use keelson_auth::authz::Attributes;
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinHandle};

/// A backend that must have each event has not got one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to store audit event")]
pub struct Rejected;

/// Decides and records. Its backends write what is queued, then end, when it is dropped.
pub struct Auditor {
    policy: Policy,
    queues: Vec<Queue>,
    metrics: Arc<Metrics>,
    /// Has tasks send what they have, and end.
    closing: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Auditor {
    /// Without a backend yet.
    pub fn new(policy: Policy) -> Self {
        let (closing, _) = watch::channel(false);
        Self { policy, queues: Vec::new(), metrics: Arc::default(), closing, tasks: Mutex::default() }
    }

    /// Writes to a file or to standard output, too. In [`Mode::Batch`] to be called within a runtime.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn with_log(mut self, config: LogConfig) -> Result<Self, LogError> {
        let (queue, events) = Queue::new(config.mode, config.queue_events_max, self.metrics.clone());
        let waits = config.mode == Mode::Batch;
        let end = log::start(config, events, self.closing.subscribe(), self.metrics.clone())?;
        if waits {
            // Err: it ended otherwise, and nothing is left to wait for.
            self.tasks.get_mut().push(tokio::spawn(async move { drop(end.await) }));
        }
        self.queues.push(queue);
        Ok(self)
    }

    /// Sends to a webhook, too. To be called within the runtime that its task is to run in.
    #[must_use]
    pub fn with_webhook(mut self, config: WebhookConfig) -> Self {
        let (queue, events) = Queue::new(config.mode, config.queue_events_max, self.metrics.clone());
        let task = webhook::start(config, events, self.closing.subscribe(), self.metrics.clone());
        self.tasks.get_mut().push(task);
        self.queues.push(queue);
        self
    }

    /// Has the webhook, and a log in [`Mode::Batch`], get what is queued; what they have not got `within` that time is lost. To be called
    /// once no more requests come.
    pub async fn close(&self, within: Duration) {
        self.closing.send_replace(true);
        let tasks = std::mem::take(&mut *self.tasks.lock());
        let ended = futures::future::join_all(tasks);
        if tokio::time::timeout(within, ended).await.is_err() {
            tracing::error!("the audit log or webhook did not take its last events in time: they are lost");
        }
    }

    /// What is to be recorded of a request; counted, so to be asked once.
    pub fn decide(&self, asked: &Attributes<'_>) -> Decision {
        let decision = self.policy.decide(asked);
        self.metrics.level(decision.level);
        decision
    }

    /// Records an event, and waits for that as the backends' modes say.
    ///
    /// # Errors
    /// At the first stage of a request alone, which is then to be refused.
    pub async fn record(&self, event: Event) -> Result<(), Rejected> {
        self.metrics.event();
        let event = Arc::new(event);
        let mut written = true;
        for queue in &self.queues {
            written &= queue.put(&event).await;
        }
        if written || event.stage != Stage::RequestReceived {
            return Ok(());
        }
        self.metrics.rejected();
        Err(Rejected)
    }

    /// Records an event without waiting: of a stream that ended, whose end nobody waits for.
    pub fn record_now(&self, event: Event) {
        self.metrics.event();
        let event = Arc::new(event);
        self.queues.iter().for_each(|queue| queue.put_now(&event));
    }

    /// The metrics, in the Prometheus text format.
    pub fn render(&self, out: &mut String) {
        self.metrics.render(out);
    }
}
