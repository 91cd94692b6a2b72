//! What the server counts about its own requests, in the Prometheus text format, under upstream's names.
//!
//! A series is made on first use and kept; their number is bounded by the kinds served, and by [`SERIES_MAX`] in any case.

use parking_lot::RwLock;
use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Series of one metric; requests beyond are counted under `resource="other"`.
const SERIES_MAX: usize = 4096;

/// Upper bounds of the latency histogram, in seconds (a selection of upstream's).
const BUCKETS_S: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 60.0];

/// The labels of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Labels {
    /// Upper case, as upstream's: GET, LIST, WATCH, POST, PUT, PATCH, DELETE, DELETECOLLECTION, CONNECT.
    pub(crate) verb: String,
    /// API group.
    pub(crate) group: String,
    /// API version.
    pub(crate) version: String,
    /// Plural.
    pub(crate) resource: String,
    /// Subresource.
    pub(crate) subresource: String,
}

impl Labels {
    fn write(&self, out: &mut String) {
        let Self { verb, group, version, resource, subresource } = self;
        let _ = write!(
            out,
            "group=\"{group}\",resource=\"{resource}\",subresource=\"{subresource}\",verb=\"{verb}\",version=\"{version}\""
        );
    }

    fn other(&self) -> Self {
        Self { verb: self.verb.clone(), resource: "other".to_owned(), ..Self::default() }
    }
}

#[derive(Default)]
struct Histogram {
    buckets: [AtomicU64; BUCKETS_S.len()],
    count: AtomicU64,
    sum_us: AtomicU64,
}

/// All counters of a server.
#[derive(Default)]
pub(crate) struct Metrics {
    requests: RwLock<HashMap<(Labels, u16), Arc<AtomicU64>>>,
    durations: RwLock<HashMap<Labels, Arc<Histogram>>>,
    /// Requests being answered, read-only ones.
    pub(crate) in_flight_reads: AtomicI64,
    /// Requests being answered, mutating ones.
    pub(crate) in_flight_writes: AtomicI64,
    /// Watches and streams being answered.
    pub(crate) long_running: AtomicI64,
    /// Requests refused because too many were in flight.
    pub(crate) rejected: AtomicU64,
}

fn series<K: Clone + Eq + std::hash::Hash, V: Default>(
    map: &RwLock<HashMap<K, Arc<V>>>,
    key: &K,
    overflow: impl FnOnce() -> K,
) -> Arc<V> {
    if let Some(found) = map.read().get(key) {
        return found.clone();
    }
    let mut map = map.write();
    let key = if map.len() < SERIES_MAX { key.clone() } else { overflow() };
    map.entry(key).or_default().clone()
}

impl Metrics {
    /// Counts an answered request. A long-running one has no duration worth a histogram.
    pub(crate) fn answered(&self, labels: &Labels, code: u16, took: Option<Duration>) {
        series(&self.requests, &(labels.clone(), code), || (labels.other(), code)).fetch_add(1, Relaxed);
        let Some(took) = took else { return };
        let histogram = series(&self.durations, labels, || labels.other());
        let seconds = took.as_secs_f64();
        for (bound, bucket) in BUCKETS_S.iter().zip(&histogram.buckets) {
            if seconds <= *bound {
                bucket.fetch_add(1, Relaxed);
            }
        }
        histogram.count.fetch_add(1, Relaxed);
        histogram.sum_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// The Prometheus text format, series in no particular order.
    pub(crate) fn render(&self) -> String {
        let mut out = String::with_capacity(16 * 1024);
        out.push_str("# HELP apiserver_request_total Counter of apiserver requests broken out for each verb, group, version, resource and HTTP response code.\n# TYPE apiserver_request_total counter\n");
        for ((labels, code), count) in self.requests.read().iter() {
            let _ = write!(out, "apiserver_request_total{{code=\"{code}\",");
            labels.write(&mut out);
            let _ = writeln!(out, "}} {}", count.load(Relaxed));
        }
        out.push_str("# HELP apiserver_request_duration_seconds Response latency distribution in seconds.\n# TYPE apiserver_request_duration_seconds histogram\n");
        for (labels, histogram) in self.durations.read().iter() {
            histogram.write(labels, &mut out);
        }
        out.push_str("# HELP apiserver_current_inflight_requests Requests being answered now.\n# TYPE apiserver_current_inflight_requests gauge\n");
        for (kind, gauge) in [("readOnly", &self.in_flight_reads), ("mutating", &self.in_flight_writes)] {
            let _ = writeln!(
                out,
                "apiserver_current_inflight_requests{{request_kind=\"{kind}\"}} {}",
                gauge.load(Relaxed)
            );
        }
        out.push_str("# HELP apiserver_longrunning_requests Watches and streams being answered now.\n# TYPE apiserver_longrunning_requests gauge\n");
        let _ = writeln!(out, "apiserver_longrunning_requests {}", self.long_running.load(Relaxed));
        out.push_str("# HELP apiserver_dropped_requests_total Requests refused because too many were in flight.\n# TYPE apiserver_dropped_requests_total counter\n");
        let _ = writeln!(out, "apiserver_dropped_requests_total {}", self.rejected.load(Relaxed));
        out
    }
}

impl Histogram {
    fn write(&self, labels: &Labels, out: &mut String) {
        let mut text = String::new();
        labels.write(&mut text);
        for (bound, bucket) in BUCKETS_S.iter().zip(&self.buckets) {
            let _ = writeln!(
                out,
                "apiserver_request_duration_seconds_bucket{{{text},le=\"{bound}\"}} {}",
                bucket.load(Relaxed)
            );
        }
        let count = self.count.load(Relaxed);
        let _ = writeln!(out, "apiserver_request_duration_seconds_bucket{{{text},le=\"+Inf\"}} {count}");
        let sum = Duration::from_micros(self.sum_us.load(Relaxed)).as_secs_f64();
        let _ = writeln!(out, "apiserver_request_duration_seconds_sum{{{text}}} {sum}");
        let _ = writeln!(out, "apiserver_request_duration_seconds_count{{{text}}} {count}");
    }
}

/// Holds a gauge up while it lives.
pub(crate) struct Raised {
    metrics: Arc<Metrics>,
    which: fn(&Metrics) -> &AtomicI64,
}

impl Raised {
    /// Raises a gauge by one until dropped.
    pub(crate) fn new(metrics: &Arc<Metrics>, which: fn(&Metrics) -> &AtomicI64) -> Self {
        which(metrics).fetch_add(1, Relaxed);
        Self { metrics: metrics.clone(), which }
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        (self.which)(&self.metrics).fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_verb_resource_and_code() {
        let metrics = Metrics::default();
        let labels =
            Labels { verb: "GET".into(), resource: "pods".into(), version: "v1".into(), ..Labels::default() };
        metrics.answered(&labels, 200, Some(Duration::from_millis(3)));
        metrics.answered(&labels, 200, None);
        let text = metrics.render();
        assert!(text.contains(r#"apiserver_request_total{code="200",group="",resource="pods",subresource="",verb="GET",version="v1"} 2"#), "{text}");
        assert!(text.contains(r#"le="0.005"} 1"#) && text.contains(r#"le="0.0025"} 0"#), "{text}");
    }
}
