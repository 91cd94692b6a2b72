//! What is counted of work queues, under upstream's names (`k8s.io/component-base/metrics/prometheus/workqueue`).

use keelson_metrics::{
    Group, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Stability::Alpha,
    exponential,
};
use std::sync::LazyLock;

struct Families {
    adds: IntCounterVec,
    depth: IntGaugeVec,
    queued: HistogramVec,
    worked: HistogramVec,
    retries: IntCounterVec,
}

static FAMILIES: LazyLock<Families> = LazyLock::new(|| {
    let group = Group::process();
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
