//! Probes: when each is asked, when its answer counts, and what a user is told.
//!
//! Owns one task a running probe. `action` asks once (HTTP, TCP, exec); [`Counter`] is the pure part:
//! from single answers to "crossed the threshold". Rules: API reference, Probe.

mod action;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Probe;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::context::Context;
use crate::machine::{Event, ProbeKind, Role};
use crate::pod::Stored;
use crate::worker::Message;

pub(crate) use action::{Target, http_get};

/// In the first moments of a container a refused connection only means "not listening yet": asked again
/// after a pause that doubles up to the second, and not counted, for as long as this.
const EAGER: Duration = Duration::from_millis(1500);
const EAGER_PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is well.
    Success,
    /// It is not; the text is for the user.
    Failure(String),
    /// Nobody listens.
    Refused(String),
    /// We could not ask. Counts as neither.
    Unknown(String),
}

/// Counts consecutive answers against the thresholds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counter {
    healthy: Option<bool>,
    run: u32,
    success_threshold: u32,
    failure_threshold: u32,
    last: Option<bool>,
}

impl Counter {
    /// A counter with the probe's thresholds. Nothing is known at first.
    pub(crate) fn new(probe: &Probe) -> Self {
        let threshold = |value: Option<i32>, default: u32| {
            value.and_then(|v| u32::try_from(v).ok()).filter(|v| *v > 0).unwrap_or(default)
        };
        Self {
            healthy: None,
            run: 0,
            success_threshold: threshold(probe.success_threshold, 1),
            failure_threshold: threshold(probe.failure_threshold, 3),
            last: None,
        }
    }

    /// Takes an answer; `Some` when the verdict changes.
    pub(crate) fn count(&mut self, success: bool) -> Option<bool> {
        self.run = if self.last == Some(success) { self.run.saturating_add(1) } else { 1 };
        self.last = Some(success);
        let threshold = if success { self.success_threshold } else { self.failure_threshold };
        (self.run >= threshold && self.healthy.replace(success) != Some(success)).then_some(success)
    }

    fn knows(&mut self, healthy: bool) {
        self.healthy = Some(healthy);
    }
}

/// What a probe's task is told.
pub(crate) struct Assignment {
    /// The pod.
    pub stored: Arc<Stored>,
    /// The container's name.
    pub name: String,
    /// What it is in its pod.
    pub role: Role,
    /// The runtime's id.
    pub id: String,
    /// Which probe.
    pub kind: ProbeKind,
    /// Where the pod is reached.
    pub host: String,
    /// The readiness that the container has now.
    pub ready: bool,
}

/// Probes until the task is aborted.
pub(crate) async fn run(ctx: Arc<Context>, job: Assignment, events: mpsc::Sender<Message>) {
    let spec = job.stored.spec();
    let Some(container) = crate::pod::container(&spec, &job.name).map(Cow::into_owned) else { return };
    let probe = match job.kind {
        ProbeKind::Startup => &container.startup_probe,
        ProbeKind::Readiness => &container.readiness_probe,
        ProbeKind::Liveness => &container.liveness_probe,
    };
    let Some(probe) = probe.clone() else { return };
    drop(spec);

    let seconds = |value: Option<i32>, default: u64| {
        Duration::from_secs(value.and_then(|v| u64::try_from(v).ok()).filter(|v| *v > 0).unwrap_or(default))
    };
    let (period, timeout) = (seconds(probe.period_seconds, 10), seconds(probe.timeout_seconds, 1));
    let delay = seconds(probe.initial_delay_seconds, 0);
    let mut counter = Counter::new(&probe);
    if job.kind == ProbeKind::Readiness {
        counter.knows(job.ready);
    }
    let target = Target { ctx: &ctx, host: &job.host, id: &job.id, container: &container };
    tokio::time::sleep(delay).await;
    let mut eager =
        (job.kind != ProbeKind::Liveness).then(|| (Instant::now() + EAGER.min(period), EAGER_PAUSE.0));
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut answer = action::ask(&target, &probe, timeout).await;
        while let (Answer::Refused(_), Some((until, pause))) = (&answer, &mut eager) {
            if Instant::now() >= *until {
                break;
            }
            tokio::time::sleep(*pause).await;
            *pause = (*pause * 2).min(EAGER_PAUSE.1);
            answer = action::ask(&target, &probe, timeout).await;
        }
        eager = None;
        let success = judge(&ctx, &job, answer);
        let Some(healthy) = success.and_then(|success| counter.count(success)) else { continue };
        let grace = probe.termination_grace_period_seconds.and_then(|s| u64::try_from(s).ok());
        let event = Event::Probed {
            id: job.id.clone(),
            kind: job.kind,
            healthy,
            grace: grace.map(Duration::from_secs),
        };
        if events.send(Message::Event(event)).await.is_err() {
            return;
        }
        // A startup probe that passed is done.
        if job.kind == ProbeKind::Startup && healthy {
            return;
        }
    }
}

/// `None`: the answer counts as neither.
fn judge(ctx: &Context, job: &Assignment, answer: Answer) -> Option<bool> {
    let warn = |text: String| {
        ctx.recorder.warning(job.stored.reference(Some((&job.name, job.role))), "Unhealthy", text);
    };
    match answer {
        Answer::Success => Some(true),
        Answer::Failure(why) | Answer::Refused(why) => {
            warn(format!("{} probe failed: {why}", job.kind.title()));
            Some(false)
        }
        Answer::Unknown(why) => {
            warn(format!("{} probe errored: {why}", job.kind.title()));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_changes_only_at_its_threshold() {
        let probe = Probe { failure_threshold: Some(3), success_threshold: Some(2), ..Default::default() };
        let mut counter = Counter::new(&probe);
        let answers = [true, true, true, false, false, true, false, false, false, false];
        let verdicts: Vec<_> = answers.into_iter().map(|answer| counter.count(answer)).collect();
        assert_eq!(verdicts, [None, Some(true), None, None, None, None, None, None, Some(false), None]);
    }

    #[test]
    fn readiness_that_was_adopted_is_not_told_again() {
        let mut counter = Counter::new(&Probe::default());
        counter.knows(true);
        assert_eq!(counter.count(true), None);
        assert_eq!(
            [counter.count(false), counter.count(false), counter.count(false)],
            [None, None, Some(false)]
        );
    }
}
