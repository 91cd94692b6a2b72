//! How the control plane counts: families of upstream's names, labels and buckets, each with its stability, and their text.
//!
//! What is counted is each crate's own: it makes its families once, in a static, and resolves the labels of what it counts often
//! to a series that it keeps. Families of the whole process are in [`Group::process`]; what belongs to one server among several of a
//! process is in a group of its own.
//!
//! Names and stability: <https://kubernetes.io/docs/reference/instrumentation/metrics/>.
#![forbid(unsafe_code)]

mod asked;
mod buckets;
pub mod waits;

pub use asked::Tell;
pub use buckets::{DEFAULT, exponential, seconds};
pub use prometheus::{Gauge, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use asked::Asked;
use prometheus::{GaugeVec, HistogramOpts, Opts, Registry, TextEncoder, core::Collector};
use std::sync::LazyLock;

/// What upstream promises of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stability {
    /// Nothing.
    Alpha,
    /// No label goes without notice.
    Beta,
    /// Nothing changes.
    Stable,
}

impl Stability {
    /// As HELP texts begin.
    const fn tag(self) -> &'static str {
        match self {
            Self::Alpha => "[ALPHA]",
            Self::Beta => "[BETA]",
            Self::Stable => "[STABLE]",
        }
    }
}

/// Families that are told together.
#[derive(Default)]
pub struct Group(Registry);

impl Group {
    /// The families of the process, with what the kernel counts of it (`process_*`).
    pub fn process() -> &'static Self {
        static PROCESS: LazyLock<Group> = LazyLock::new(|| {
            let group = Group::default();
            #[cfg(target_os = "linux")]
            group.add(prometheus::process_collector::ProcessCollector::for_self());
            group
        });
        &PROCESS
    }

    /// A family of counters.
    ///
    /// # Panics
    /// As all that make families: where the name is none or taken. Names are constants.
    pub fn counters(&self, stability: Stability, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.added(IntCounterVec::new(options(stability, name, help), labels))
    }

    /// A counter without labels.
    ///
    /// # Panics
    /// See [`Group::counters`].
    pub fn counter(&self, stability: Stability, name: &str, help: &str) -> IntCounter {
        self.added(IntCounter::with_opts(options(stability, name, help)))
    }

    /// A family of gauges.
    ///
    /// # Panics
    /// See [`Group::counters`].
    pub fn gauges(&self, stability: Stability, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.added(IntGaugeVec::new(options(stability, name, help), labels))
    }

    /// A family of gauges that are measured when they are told: `measure` tells the series that there are then.
    ///
    /// # Panics
    /// See [`Group::counters`].
    pub fn measured(
        &self,
        stability: Stability,
        name: &str,
        help: &str,
        labels: &[&str],
        measure: impl Fn(&mut Tell<'_>) + Send + Sync + 'static,
    ) {
        let family = GaugeVec::new(options(stability, name, help), labels);
        self.add(Asked::new(family.expect("the name and the labels of a family are constants"), measure));
    }

    /// A family of histograms with these upper bounds.
    ///
    /// # Panics
    /// See [`Group::counters`].
    pub fn histograms(
        &self,
        stability: Stability,
        name: &str,
        help: &str,
        labels: &[&str],
        bounds: &[f64],
    ) -> HistogramVec {
        let options = HistogramOpts::from(options(stability, name, help)).buckets(bounds.to_vec());
        self.added(HistogramVec::new(options, labels))
    }

    /// A histogram without labels.
    ///
    /// # Panics
    /// See [`Group::counters`].
    pub fn histogram(&self, stability: Stability, name: &str, help: &str, bounds: &[f64]) -> Histogram {
        let options = HistogramOpts::from(options(stability, name, help)).buckets(bounds.to_vec());
        self.added(Histogram::with_opts(options))
    }

    fn added<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let made = made.expect("the name and the labels of a family are constants");
        self.add(made.clone());
        made
    }

    fn add(&self, collector: impl Collector + 'static) {
        self.0.register(Box::new(collector)).expect("the name of a family is taken once");
    }

    /// The Prometheus text format, behind what is there. Families of which nothing was counted yet are left out.
    pub fn render(&self, out: &mut String) {
        TextEncoder::new()
            .encode_utf8(&self.0.gather(), out)
            .expect("text goes into a string, and families without series are left out");
    }
}

fn options(stability: Stability, name: &str, help: &str) -> Opts {
    Opts::new(name, format!("{} {help}", stability.tag()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_told_as_upstream_tells_them() {
        let group = Group::default();
        let counters = group.counters(Stability::Beta, "a_total", "Counts.", &["x"]);
        group.counters(Stability::Alpha, "nothing_total", "Never.", &["x"]);
        counters.with_label_values(&["q\"q"]).inc();
        let times = group.histogram(Stability::Stable, "b_seconds", "Times.", &seconds(&[5, 1_000]));
        times.observe(0.5);
        let mut text = String::new();
        group.render(&mut text);
        let wanted = "# HELP a_total [BETA] Counts.\n# TYPE a_total counter\na_total{x=\"q\\\"q\"} 1\n\
             # HELP b_seconds [STABLE] Times.\n# TYPE b_seconds histogram\n\
             b_seconds_bucket{le=\"0.005\"} 0\nb_seconds_bucket{le=\"1\"} 1\nb_seconds_bucket{le=\"+Inf\"} 1\n\
             b_seconds_sum 0.5\nb_seconds_count 1\n";
        assert_eq!(text, wanted);
    }

    #[test]
    fn the_process_is_measured() {
        let mut text = String::new();
        Group::process().render(&mut text);
        for name in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"] {
            let line =
                text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {text}"));
            let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
            assert!(value > 0.0 || name.contains("cpu"), "{line}");
        }
    }
}
