//! Requests that are being answered now: the short ones by how many at most in a second, the long ones by their labels.

use super::{Metrics, Series};
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Instant,
};

/// A number that goes up and down, and the most that it was.
#[derive(Default)]
pub(super) struct Level {
    now: AtomicI64,
    peak: AtomicI64,
}

impl Level {
    fn raise(&self) {
        let now = self.now.fetch_add(1, Relaxed) + 1;
        self.peak.fetch_max(now, Relaxed);
    }

    /// The most since this was last asked.
    pub(super) fn take_peak(&self) -> i64 {
        self.peak.swap(self.now.load(Relaxed), Relaxed)
    }
}

/// A short request, as long as this is held.
pub(crate) struct InFlight {
    metrics: Arc<Metrics>,
    is_read_only: bool,
}

impl InFlight {
    pub(crate) fn begin(metrics: &Arc<Metrics>, is_read_only: bool) -> Self {
        metrics.level(is_read_only).raise();
        Self { metrics: metrics.clone(), is_read_only }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.metrics.level(self.is_read_only).now.fetch_sub(1, Relaxed);
    }
}

/// A watch or stream. Whoever goes on with it after its answer holds a clone; the last one to go ends it.
#[derive(Clone)]
pub(crate) struct LongRunning(#[expect(dead_code, reason = "held for its drop")] Arc<Running>);

struct Running {
    metrics: Arc<Metrics>,
    series: Arc<Series>,
    began: Instant,
}

impl LongRunning {
    pub(crate) fn begin(metrics: &Arc<Metrics>, series: &Arc<Series>) -> Self {
        let gauge = series
            .long_running
            .get_or_init(|| metrics.families.long_running.with_label_values(&series.key.named()));
        gauge.inc();
        metrics.long_running.fetch_add(1, Relaxed);
        let (metrics, series) = (metrics.clone(), series.clone());
        Self(Arc::new(Running { metrics, series, began: Instant::now() }))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(gauge) = self.series.long_running.get() {
            gauge.dec();
        }
        self.metrics.long_running.fetch_sub(1, Relaxed);
        let took = self.began.elapsed().as_secs_f64();
        self.series.duration.observe(took);
        self.series.sli.observe(took);
    }
}
