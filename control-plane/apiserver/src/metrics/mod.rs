//! What the server counts about its own requests, under upstream's names, labels and buckets
//! (`k8s.io/apiserver/pkg/endpoints/metrics`).
//!
//! A request finds the series of its labels once ([`Metrics::series`]) and counts by atomics from there on. Series are made on first
//! use and kept; their number is bounded by what is served, and by [`SERIES_MAX`] in any case.

mod identity;
mod impersonation;
mod labels;
mod running;
mod sizes;

pub(crate) use labels::Labels;
pub(crate) use running::{InFlight, LongRunning};
pub(crate) use sizes::measured;

use identity::Identities;
use impersonation::Impersonations;
use indexmap::IndexMap;
use keelson_metrics::{
    Group, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Stability::{Alpha, Stable},
    exponential, seconds,
};
use labels::Key;
use parking_lot::{Mutex, RwLock};
use std::{
    sync::{Arc, OnceLock, atomic::AtomicI64},
    time::Duration,
};

/// Requests that differ in their labels; those beyond are counted under `resource="other"`.
const SERIES_MAX: usize = 4096;

/// Upper bounds of `apiserver_request_duration_seconds`, in milliseconds.
const DURATION_MS: [u32; 23] = [
    5, 25, 50, 100, 200, 400, 600, 800, 1_000, 1_250, 1_500, 2_000, 3_000, 4_000, 5_000, 6_000, 8_000,
    10_000, 15_000, 20_000, 30_000, 45_000, 60_000,
];
/// Those of `apiserver_request_sli_duration_seconds` begin at 50 ms, as the least that is promised to anybody is 100 ms.
const SLI_FROM: usize = 2;
const REQUEST: [&str; 8] =
    ["verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component"];
const NAMED: [&str; 7] = ["verb", "group", "version", "resource", "subresource", "scope", "component"];
const COUNTED: [&str; 9] =
    ["verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component", "code"];
const ENDED: [&str; 8] =
    ["verb", "group", "version", "resource", "subresource", "scope", "component", "code"];

/// All that one server counts.
pub(crate) struct Metrics {
    group: Group,
    rendering: Mutex<()>,
    requests: RwLock<IndexMap<Key, Arc<Series>>>,
    families: Families,
    pub(crate) identities: Identities,
    pub(crate) impersonations: Impersonations,
    /// Read-only requests being answered.
    reads: running::Level,
    /// Mutating ones.
    writes: running::Level,
    /// Watches and streams being answered.
    pub(crate) long_running: AtomicI64,
}

struct Families {
    total: IntCounterVec,
    duration: HistogramVec,
    sli: HistogramVec,
    sizes: HistogramVec,
    long_running: IntGaugeVec,
    terminations: IntCounterVec,
    dropped: IntCounterVec,
    in_flight: IntGaugeVec,
    watch_events: IntCounterVec,
    watch_sizes: HistogramVec,
    deprecated: IntGaugeVec,
    objects: IntGaugeVec,
    objects_by_group: IntGaugeVec,
}

/// What is counted of requests with the same labels.
pub(crate) struct Series {
    key: Key,
    /// By code, in the order of their first answers: there are a few at most.
    total: RwLock<Vec<(u16, IntCounter)>>,
    duration: Histogram,
    /// Without what was waited for webhooks and for its turn.
    sli: Histogram,
    /// Of answers that show objects.
    sizes: Option<Histogram>,
    long_running: OnceLock<IntGauge>,
}

/// What is counted of the events of a kind.
#[derive(Clone)]
pub(crate) struct WatchSeries {
    events: IntCounter,
    sizes: Histogram,
}

impl Families {
    fn new(group: &Group) -> Self {
        let object = ["group", "version", "resource"];
        Self {
            total: group.counters(
                Stable,
                "apiserver_request_total",
                "Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.",
                &COUNTED,
            ),
            duration: group.histograms(
                Stable,
                "apiserver_request_duration_seconds",
                "Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component.",
                &REQUEST,
                &seconds(&DURATION_MS),
            ),
            sli: group.histograms(
                Alpha,
                "apiserver_request_sli_duration_seconds",
                "Response latency distribution (not counting webhook duration and priority & fairness queue wait times) in seconds for each verb, group, version, resource, subresource, scope and component.",
                &NAMED,
                &seconds(&DURATION_MS[SLI_FROM..]),
            ),
            sizes: group.histograms(
                Stable,
                "apiserver_response_sizes",
                "Response size distribution in bytes for each group, version, verb, resource, subresource, scope and component.",
                &NAMED,
                &exponential(1_000.0, 10.0, 7),
            ),
            long_running: group.gauges(
                Stable,
                "apiserver_longrunning_requests",
                "Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, scope and component. Not all requests are tracked this way.",
                &NAMED,
            ),
            terminations: group.counters(
                Alpha,
                "apiserver_request_terminations_total",
                "Number of requests which apiserver terminated in self-defense.",
                &ENDED,
            ),
            dropped: group.counters(
                Alpha,
                "apiserver_dropped_requests_total",
                "Number of requests dropped with 'Try again later' response",
                &["request_kind"],
            ),
            in_flight: group.gauges(
                Stable,
                "apiserver_current_inflight_requests",
                "Maximal number of currently used inflight request limit of this apiserver per request kind in last second.",
                &["request_kind"],
            ),
            watch_events: group.counters(
                Alpha,
                "apiserver_watch_events_total",
                "Number of events sent in watch clients",
                &object,
            ),
            watch_sizes: group.histograms(
                Alpha,
                "apiserver_watch_events_sizes",
                "Watch event size distribution in bytes",
                &object,
                &exponential(1024.0, 2.0, 8),
            ),
            deprecated: group.gauges(
                Stable,
                "apiserver_requested_deprecated_apis",
                "Gauge of deprecated APIs that have been requested, broken out by API group, version, resource, subresource, and removed_release.",
                &["group", "version", "resource", "subresource", "removed_release"],
            ),
            objects: group.gauges(
                Stable,
                "apiserver_storage_objects",
                "[DEPRECATED, consider using apiserver_resource_objects instead] Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will be -1.",
                &["resource"],
            ),
            objects_by_group: group.gauges(
                Alpha,
                "apiserver_resource_objects",
                "Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will be -1.",
                &["group", "resource"],
            ),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let group = Group::default();
        Self {
            requests: RwLock::default(),
            families: Families::new(&group),
            identities: Identities::new(&group),
            impersonations: Impersonations::new(&group),
            reads: running::Level::default(),
            writes: running::Level::default(),
            long_running: AtomicI64::new(0),
            rendering: Mutex::default(),
            group,
        }
    }
}

impl Metrics {
    /// The series of these labels. `is_served` is asked where there is none yet: what nobody serves shares one, so that whoever asks
    /// for anything at all does not fill the memory.
    pub(crate) fn series(&self, labels: &Labels<'_>, is_served: impl FnOnce() -> bool) -> Arc<Series> {
        if let Some(found) = self.requests.read().get(labels) {
            return found.clone();
        }
        let served = is_served();
        let mut all = self.requests.write();
        let key = match (served, all.len() < SERIES_MAX) {
            (false, _) => labels.unserved(),
            (true, false) => labels.other(),
            (true, true) => Key::from(labels),
        };
        if let Some(found) = all.get(&key) {
            return found.clone();
        }
        let shows = matches!(labels.verb, "GET" | "LIST");
        let series = Arc::new(Series {
            total: RwLock::default(),
            duration: self.families.duration.with_label_values(&key.values()),
            sli: self.families.sli.with_label_values(&key.named()),
            sizes: shows.then(|| self.families.sizes.with_label_values(&key.named())),
            long_running: OnceLock::new(),
            key: key.clone(),
        });
        all.insert(key, series.clone());
        series
    }

    /// Counts an answer, with how long it took and how much of that was waiting. What runs long has no duration yet: it is
    /// observed at its end.
    pub(crate) fn answered(&self, series: &Series, code: u16, took: Option<(Duration, Duration)>) {
        if let Some((took, waited)) = took {
            series.duration.observe(took.as_secs_f64());
            series.sli.observe(took.saturating_sub(waited).as_secs_f64());
        }
        let counted = |all: &Vec<(u16, IntCounter)>| match all.iter().find(|(known, _)| *known == code) {
            Some((_, counter)) => {
                counter.inc();
                true
            }
            None => false,
        };
        if counted(&series.total.read()) {
            return;
        }
        let mut all = series.total.write();
        if !counted(&all) {
            let text = code.to_string();
            let mut values = series.key.values().to_vec();
            values.push(&text);
            let counter = self.families.total.with_label_values(&values);
            counter.inc();
            all.push((code, counter));
        }
    }

    /// Counts a request that was ended in self-defence: sent away (429) or out of time (504).
    pub(crate) fn terminated(&self, series: &Series, code: u16) {
        let text = code.to_string();
        let mut values = series.key.named().to_vec();
        values.push(&text);
        self.families.terminations.with_label_values(&values).inc();
    }

    /// Counts a request that was sent away because there were too many.
    pub(crate) fn dropped(&self, is_read_only: bool) {
        self.families.dropped.with_label_values(&[kind(is_read_only)]).inc();
    }

    /// Notes that a version was asked for that will go; `removed_release` is "" where nobody knows when.
    pub(crate) fn deprecated(&self, object: [&str; 4], removed_release: &str) {
        let [group, version, resource, subresource] = object;
        let values = [group, version, resource, subresource, removed_release];
        self.families.deprecated.with_label_values(&values).set(1);
    }

    /// What is counted of the events of a kind.
    pub(crate) fn watched(&self, group: &str, version: &str, resource: &str) -> WatchSeries {
        let values = [group, version, resource];
        WatchSeries {
            events: self.families.watch_events.with_label_values(&values),
            sizes: self.families.watch_sizes.with_label_values(&values),
        }
    }

    /// The Prometheus text format. `objects` are the stored kinds, by group and plural, with how many there are of each.
    pub(crate) fn render<'a>(&self, objects: impl Iterator<Item = (&'a str, &'a str, u64)>) -> String {
        // What is gone must not be told: made anew each time, by one reader at a time.
        let _one = self.rendering.lock();
        self.families.objects.reset();
        self.families.objects_by_group.reset();
        let mut out = String::with_capacity(64 * 1024);
        for (group, plural, count) in objects {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            let resource = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
            self.families.objects.with_label_values(&[resource.as_str()]).set(count);
            self.families.objects_by_group.with_label_values(&[group, plural]).set(count);
        }
        self.group.render(&mut out);
        Group::process().render(&mut out);
        out
    }

    /// To be called once a second: what was the most in the second before is told until the next.
    pub(crate) fn tick(&self) {
        for (is_read_only, level) in [(true, &self.reads), (false, &self.writes)] {
            self.families.in_flight.with_label_values(&[kind(is_read_only)]).set(level.take_peak());
        }
    }

    fn level(&self, is_read_only: bool) -> &running::Level {
        if is_read_only { &self.reads } else { &self.writes }
    }
}

impl WatchSeries {
    /// Counts events by the bytes of each.
    pub(crate) fn sent(&self, bytes: impl Iterator<Item = usize>) {
        let mut events = 0;
        let sizes = self.sizes.local();
        for bytes in bytes {
            events += 1;
            sizes.observe(bytes as f64);
        }
        sizes.flush();
        self.events.inc_by(events);
    }
}

const fn kind(is_read_only: bool) -> &'static str {
    if is_read_only { "readOnly" } else { "mutating" }
}

#[cfg(test)]
mod tests;
