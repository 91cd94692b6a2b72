//! What is counted of scheduling, under upstream's names (`pkg/scheduler/metrics`).

use crate::plugins::{Plugin, Plugins};
use keelson_metrics::{
    Group, Histogram, HistogramVec, IntCounter, IntCounterVec,
    Stability::{Alpha, Beta, Stable},
    Tell, exponential,
};
use parking_lot::Mutex;
use std::{
    sync::{Arc, LazyLock, Weak},
    time::{Duration, Instant},
};

/// Attempts of a pod that are told apart, as upstream: more count as one.
const ATTEMPTS_MAX: u32 = 15;

/// What a scheduler has at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Levels {
    pub(crate) active: usize,
    pub(crate) backoff: usize,
    pub(crate) unschedulable: usize,
    /// How many pods each plugin keeps waiting.
    pub(crate) refused_by: Vec<(Plugin, usize)>,
}

/// A scheduler at work, as far as it is asked what it has.
pub(crate) trait Measured: Send + Sync {
    fn levels(&self) -> Levels;
    /// Pods that are not to be placed yet.
    fn gated(&self) -> usize;
    /// Nodes, pods on them, and those of the pods that are being bound.
    fn cache(&self) -> [usize; 3];
    fn profile(&self) -> &str;
}

/// The one that works in this process.
static AT_WORK: Mutex<Option<Weak<dyn Measured>>> = Mutex::new(None);

/// Has this one asked from now on, as long as it is there.
pub(crate) fn watch<S: Measured + 'static>(scheduler: &Arc<S>) {
    let scheduler: Weak<S> = Arc::downgrade(scheduler);
    *AT_WORK.lock() = Some(scheduler);
    LazyLock::force(&FAMILIES);
}

fn measured(of: fn(&dyn Measured, &mut Tell<'_>)) -> impl Fn(&mut Tell<'_>) + Send + Sync + 'static {
    move |tell| {
        let at_work = AT_WORK.lock().as_ref().and_then(Weak::upgrade);
        if let Some(scheduler) = at_work {
            of(&*scheduler, tell);
        }
    }
}

struct Families {
    attempts: IntCounterVec,
    attempt_duration: HistogramVec,
    algorithm_duration: Histogram,
    sli_duration: HistogramVec,
    pod_attempts: Histogram,
    incoming: IntCounterVec,
}

static FAMILIES: LazyLock<Families> = LazyLock::new(|| {
    let group = Group::process();
    gauges(group);
    let of_attempt = ["result", "profile"];
    let milliseconds = exponential(0.001, 2.0, 15);
    Families {
        attempts: group.counters(
            Stable,
            "scheduler_schedule_attempts_total",
            "Number of attempts to schedule pods, by the result. 'unschedulable' means a pod could not be scheduled, while 'error' means an internal scheduler problem.",
            &of_attempt,
        ),
        attempt_duration: group.histograms(
            Stable,
            "scheduler_scheduling_attempt_duration_seconds",
            "Scheduling attempt latency in seconds (scheduling algorithm + binding)",
            &of_attempt,
            &milliseconds,
        ),
        algorithm_duration: group.histogram(
            Alpha,
            "scheduler_scheduling_algorithm_duration_seconds",
            "Scheduling algorithm latency in seconds",
            &milliseconds,
        ),
        sli_duration: group.histograms(
            Beta,
            "scheduler_pod_scheduling_sli_duration_seconds",
            "E2e latency for a pod being scheduled, from the time the pod enters the scheduling queue and might involve multiple scheduling attempts.",
            &["attempts"],
            &exponential(0.01, 2.0, 20),
        ),
        pod_attempts: group.histogram(
            Stable,
            "scheduler_pod_scheduling_attempts",
            "Number of attempts to successfully schedule a pod.",
            &exponential(1.0, 2.0, 5),
        ),
        incoming: group.counters(
            Stable,
            "scheduler_queue_incoming_pods_total",
            "Number of pods added to scheduling queues by event and queue type.",
            &["queue", "event"],
        ),
    }
});

fn gauges(group: &Group) {
    group.measured(
        Stable,
        "scheduler_pending_pods",
        "Number of pending pods, by the queue type. 'active' means number of pods in activeQ; 'backoff' means number of pods in backoffQ; 'unschedulable' means number of pods in unschedulablePods that the scheduler attempted to schedule and failed; 'gated' is the number of unschedulable pods that the scheduler never attempted to schedule because they are gated.",
        &["queue"],
        measured(|scheduler, tell| {
            let Levels { active, backoff, unschedulable, .. } = scheduler.levels();
            let queues = [("active", active), ("backoff", backoff), ("unschedulable", unschedulable)];
            tell(&["gated"], scheduler.gated() as f64);
            queues.iter().for_each(|(queue, pods)| tell(&[queue], *pods as f64));
        }),
    );
    group.measured(
        Alpha,
        "scheduler_cache_size",
        "Number of nodes, pods, and assumed (bound) pods in the scheduler cache.",
        &["type"],
        measured(|scheduler, tell| {
            let kinds = ["nodes", "pods", "assumed_pods"];
            kinds.iter().zip(scheduler.cache()).for_each(|(kind, count)| tell(&[kind], count as f64));
        }),
    );
    group.measured(
        Alpha,
        "scheduler_unschedulable_pods",
        "The number of unschedulable pods broken down by plugin name. A pod will increment the gauge for all plugins that caused it to not schedule and so this metric have meaning only when broken down by plugin.",
        &["plugin", "profile"],
        measured(|scheduler, tell| {
            let refused_by = scheduler.levels().refused_by;
            refused_by.iter().for_each(|(plugin, pods)| {
                tell(&[&format!("{plugin:?}"), scheduler.profile()], *pods as f64);
            });
        }),
    );
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Scheduled,
    Unschedulable,
    /// There was a node, but the pod is not on it.
    Error,
}

impl Outcome {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Scheduled, "scheduled"), (Self::Unschedulable, "unschedulable"), (Self::Error, "error")];
}

/// The series of attempts.
pub(crate) struct Attempts([(IntCounter, Histogram); Outcome::ALL.len()]);

impl Attempts {
    pub(crate) fn of(profile: &str) -> Self {
        Self(Outcome::ALL.map(|(_, result)| {
            let values = [result, profile];
            (
                FAMILIES.attempts.with_label_values(&values),
                FAMILIES.attempt_duration.with_label_values(&values),
            )
        }))
    }

    /// An attempt that began then is over.
    pub(crate) fn ended(&self, outcome: Outcome, began: Instant) {
        let (count, duration) = &self.0[outcome as usize];
        count.inc();
        duration.observe(began.elapsed().as_secs_f64());
    }
}

/// A decision took this long.
pub(crate) fn decided(took: Duration) {
    FAMILIES.algorithm_duration.observe(took.as_secs_f64());
}

/// An attempt to place a pod.
pub(crate) struct Attempt {
    pub(crate) began: Instant,
    /// How many there were with this one, and since when the pod has been in the queue; None where it has left that meanwhile.
    pub(crate) history: Option<(u32, tokio::time::Instant)>,
}

impl Attempt {
    /// The pod has its node.
    pub(crate) fn succeeded(&self) {
        let Some((attempts, since)) = self.history else { return };
        let label = match attempts {
            few if few < ATTEMPTS_MAX => few.to_string(),
            _ => format!("{ATTEMPTS_MAX}+"),
        };
        FAMILIES.sli_duration.with_label_values(&[&label]).observe(since.elapsed().as_secs_f64());
        FAMILIES.pod_attempts.observe(f64::from(attempts));
    }
}

/// A pod came into a queue by an event.
pub(crate) fn incoming(queue: &str, event: &str) {
    FAMILIES.incoming.with_label_values(&[queue, event]).inc();
}

/// Counts pods by the plugins that refused them.
pub(crate) fn by_plugin(refused: impl Iterator<Item = Plugins>) -> Vec<(Plugin, usize)> {
    let mut counts = Plugin::ALL.map(|plugin| (plugin, 0));
    for plugins in refused {
        for (plugin, count) in &mut counts {
            *count += usize::from(plugins.meets(Plugins::of(&[*plugin])));
        }
    }
    counts.into_iter().filter(|(_, count)| *count > 0).collect()
}
