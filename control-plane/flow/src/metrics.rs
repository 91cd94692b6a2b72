//! What the gate counts, under upstream's names (`k8s.io/apiserver/pkg/util/flowcontrol/metrics`). A schema's series are resolved when
//! it is configured, so that a request only counts.

use crate::planner::Refusal;
use keelson_metrics::{
    Group, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Stability::{Alpha, Beta},
    seconds,
};
use std::time::Duration;

/// Upper bounds of waits, in milliseconds.
const WAIT_MS: [u32; 13] = [0, 5, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000];
const FLOW: [&str; 2] = ["flow_schema", "priority_level"];

/// The families of one gate.
pub(crate) struct Metrics {
    pub(crate) group: Group,
    executing: IntGaugeVec,
    seats: IntGaugeVec,
    waiting: IntGaugeVec,
    dispatched: IntCounterVec,
    rejected: IntCounterVec,
    waited: HistogramVec,
    executed: HistogramVec,
    pub(crate) nominal: IntGaugeVec,
    pub(crate) own: IntGaugeVec,
    pub(crate) most: IntGaugeVec,
}

/// The series of a schema's requests at its level.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) executing: IntGauge,
    pub(crate) seats: IntGauge,
    pub(crate) waiting: IntGauge,
    pub(crate) dispatched: IntCounter,
    rejected: [IntCounter; Refusal::ALL.len()],
    /// Of those that were then executed, and those that were not.
    waited: [Histogram; 2],
    executed: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let group = Group::default();
        let name = |rest: &str| format!("apiserver_flowcontrol_{rest}");
        let level = ["priority_level"];
        Self {
            executing: group.gauges(
                Beta,
                &name("current_executing_requests"),
                "Number of requests in initial (for a WATCH) or any (for a non-WATCH) execution stage in the API Priority and Fairness subsystem",
                &FLOW,
            ),
            seats: group.gauges(
                Beta,
                &name("current_executing_seats"),
                "Concurrency (number of seats) occupied by the currently executing (initial stage for a WATCH, any stage otherwise) requests in the API Priority and Fairness subsystem",
                &FLOW,
            ),
            waiting: group.gauges(
                Beta,
                &name("current_inqueue_requests"),
                "Number of requests currently pending in queues of the API Priority and Fairness subsystem",
                &FLOW,
            ),
            dispatched: group.counters(
                Beta,
                &name("dispatched_requests_total"),
                "Number of requests executed by API Priority and Fairness subsystem",
                &FLOW,
            ),
            rejected: group.counters(
                Beta,
                &name("rejected_requests_total"),
                "Number of requests rejected by API Priority and Fairness subsystem",
                &["flow_schema", "priority_level", "reason"],
            ),
            waited: group.histograms(
                Beta,
                &name("request_wait_duration_seconds"),
                "Length of time a request spent waiting in its queue",
                &["execute", "flow_schema", "priority_level"],
                &seconds(&WAIT_MS),
            ),
            executed: group.histograms(
                Alpha,
                &name("request_execution_seconds"),
                "Duration of initial stage (for a WATCH) or any (for a non-WATCH) stage of request execution in the API Priority and Fairness subsystem",
                &FLOW,
                &seconds(&WAIT_MS),
            ),
            nominal: group.gauges(
                Beta,
                &name("nominal_limit_seats"),
                "Nominal number of execution seats configured for each priority level",
                &level,
            ),
            own: group.gauges(
                Alpha,
                &name("lower_limit_seats"),
                "Configured lower bound on number of execution seats available to each priority level",
                &level,
            ),
            most: group.gauges(
                Alpha,
                &name("upper_limit_seats"),
                "Configured upper bound on number of execution seats available to each priority level",
                &level,
            ),
            group,
        }
    }
}

impl Metrics {
    pub(crate) fn of(&self, schema: &str, level: &str) -> Series {
        let flow = [schema, level];
        let waited = |execute: &str| self.waited.with_label_values(&[execute, schema, level]);
        Series {
            executing: self.executing.with_label_values(&flow),
            seats: self.seats.with_label_values(&flow),
            waiting: self.waiting.with_label_values(&flow),
            dispatched: self.dispatched.with_label_values(&flow),
            rejected: Refusal::ALL.map(|why| self.rejected.with_label_values(&[schema, level, why.as_str()])),
            waited: [waited("false"), waited("true")],
            executed: self.executed.with_label_values(&flow),
        }
    }
}

impl Series {
    pub(crate) fn rejected(&self, why: Refusal) {
        self.rejected[why as usize].inc();
    }

    pub(crate) fn waited(&self, is_executed: bool, took: Duration) {
        self.waited[usize::from(is_executed)].observe(took.as_secs_f64());
    }

    pub(crate) fn begins(&self, seats: u32) {
        self.dispatched.inc();
        self.executing.inc();
        self.seats.add(i64::from(seats));
    }

    pub(crate) fn ends(&self, seats: u32, took: Duration) {
        self.executing.dec();
        self.seats.sub(i64::from(seats));
        self.executed.observe(took.as_secs_f64());
    }
}
