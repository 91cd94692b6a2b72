//! What is counted of work queues, under upstream's names (`k8s.io/component-base/metrics/prometheus/workqueue`); what is being
//! worked on is measured when it is asked for.

use keelson_metrics::{
    Group, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Stability::Alpha, Tell,
    exponential,
};
use parking_lot::Mutex;
use std::{
    sync::{Arc, LazyLock, Weak},
    time::Duration,
};
use tokio::time::Instant;

struct Families {
    adds: IntCounterVec,
    depth: IntGaugeVec,
    queued: HistogramVec,
    worked: HistogramVec,
    retries: IntCounterVec,
}

/// A queue, as far as it is asked what is being worked on.
pub(crate) trait Busy: Send + Sync {
    /// Since when each worker that is at work is.
    fn since(&self) -> Vec<Instant>;
}

/// The queues that have a name.
static QUEUES: Mutex<Vec<(String, Weak<dyn Busy>)>> = Mutex::new(Vec::new());

/// What this queue's workers are at is told from now on, as long as the queue is there.
pub(crate) fn watch<Q: Busy + 'static>(name: &str, queue: &Arc<Q>) {
    let queue: Weak<Q> = Arc::downgrade(queue);
    let mut queues = QUEUES.lock();
    queues.retain(|(_, known)| known.strong_count() > 0);
    queues.push((name.to_owned(), queue));
}

/// Tells of each queue what `of` makes of the times that its workers have been at work.
fn at_work(of: fn(&[Duration]) -> Duration) -> impl Fn(&mut Tell<'_>) + Send + Sync + 'static {
    move |tell| {
        for (name, queue) in QUEUES.lock().iter() {
            let Some(queue) = queue.upgrade() else { continue };
            let times: Vec<Duration> = queue.since().iter().map(Instant::elapsed).collect();
            tell(&[name], of(&times).as_secs_f64());
        }
    }
}

static FAMILIES: LazyLock<Families> = LazyLock::new(|| {
    let group = Group::process();
    group.measured(
        Alpha,
        "workqueue_unfinished_work_seconds",
        "How many seconds of work has done that is in progress and hasn't been observed by work_duration. Large values indicate stuck threads. One can deduce the number of stuck threads by observing the rate at which this increases.",
        &["name"],
        at_work(|times| times.iter().sum()),
    );
    group.measured(
        Alpha,
        "workqueue_longest_running_processor_seconds",
        "How many seconds has the longest running processor for workqueue been running.",
        &["name"],
        at_work(|times| times.iter().copied().max().unwrap_or_default()),
    );
    // 10 ns to 1,000 s.
    let bounds = exponential(1e-8, 10.0, 12);
    Families {
        adds: group.counters(
            Alpha,
            "workqueue_adds_total",
            "Total number of adds handled by workqueue",
            &["name"],
        ),
        depth: group.gauges(Alpha, "workqueue_depth", "Current depth of workqueue", &["name"]),
        queued: group.histograms(
            Alpha,
            "workqueue_queue_duration_seconds",
            "How long in seconds an item stays in workqueue before being requested.",
            &["name"],
            &bounds,
        ),
        worked: group.histograms(
            Alpha,
            "workqueue_work_duration_seconds",
            "How long in seconds processing an item from workqueue takes.",
            &["name"],
            &bounds,
        ),
        retries: group.counters(
            Alpha,
            "workqueue_retries_total",
            "Total number of retries handled by workqueue",
            &["name"],
        ),
    }
});

/// The series of one queue.
pub(crate) struct Series {
    pub(crate) adds: IntCounter,
    pub(crate) depth: IntGauge,
    /// Seconds from its add until a worker takes a key.
    pub(crate) queued: Histogram,
    /// Seconds that a worker has it.
    pub(crate) worked: Histogram,
    pub(crate) retries: IntCounter,
}

impl Series {
    pub(crate) fn of(name: &str) -> Self {
        let name = [name];
        Self {
            adds: FAMILIES.adds.with_label_values(&name),
            depth: FAMILIES.depth.with_label_values(&name),
            queued: FAMILIES.queued.with_label_values(&name),
            worked: FAMILIES.worked.with_label_values(&name),
            retries: FAMILIES.retries.with_label_values(&name),
        }
    }
}
