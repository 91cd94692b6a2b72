//! How long expressions take, under upstream's names (`k8s.io/apiserver/pkg/cel/metrics`).

use keelson_metrics::{DEFAULT, Group, Histogram, Stability::Beta};
use std::sync::LazyLock;
use std::time::Instant;

struct Families {
    compilation: Histogram,
    evaluation: Histogram,
}

static FAMILIES: LazyLock<Families> = LazyLock::new(|| {
    let family = |name, help| Group::process().histogram(Beta, name, help, &DEFAULT);
    Families {
        compilation: family("apiserver_cel_compilation_duration_seconds", "CEL compilation time in seconds."),
        evaluation: family("apiserver_cel_evaluation_duration_seconds", "CEL evaluation time in seconds."),
    }
});

/// Observes the time until it is dropped.
pub(crate) struct Timed {
    histogram: &'static Histogram,
    began: Instant,
}

impl Drop for Timed {
    fn drop(&mut self) {
        self.histogram.observe(self.began.elapsed().as_secs_f64());
    }
}

/// A compilation begins.
pub(crate) fn compilation() -> Timed {
    Timed { histogram: &FAMILIES.compilation, began: Instant::now() }
}

/// An evaluation begins.
pub(crate) fn evaluation() -> Timed {
    Timed { histogram: &FAMILIES.evaluation, began: Instant::now() }
}
