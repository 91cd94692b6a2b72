//! The policy, and the backends that everything goes to which it has recorded.

use crate::{
    event::Event,
    log::{self, LogConfig, LogError},
    metrics::Metrics,
    policy::{Decision, Policy, Stage},
    queue::Queue,
};
use keelson_auth::authz::Attributes;
use std::sync::Arc;

/// A backend that must have each event has not got one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to store audit event")]
pub struct Rejected;

/// Decides and records. Its backends write what is queued, then end, when it is dropped.
pub struct Auditor {
    policy: Policy,
    queues: Vec<Queue>,
    metrics: Arc<Metrics>,
}

impl Auditor {
    /// Without a backend yet.
    pub fn new(policy: Policy) -> Self {
        Self { policy, queues: Vec::new(), metrics: Arc::new(Metrics::default()) }
    }

    /// Writes to a file or to standard output, too.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn with_log(mut self, config: LogConfig) -> Result<Self, LogError> {
        let (queue, events) = Queue::new(config.mode, config.queue_events_max, self.metrics.clone());
        log::start(config, events, self.metrics.clone())?;
        self.queues.push(queue);
        Ok(self)
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
