//! Attempts to act as somebody else, and what authorizers were asked for them.

use keelson_metrics::{Group, HistogramVec, IntCounterVec, Stability::Alpha, exponential};
use std::time::Duration;

/// What one sort of question is counted by: `mode` and `decision`.
struct Judged {
    count: IntCounterVec,
    took: HistogramVec,
}

pub(crate) struct Impersonations {
    attempts: Judged,
    questions: Judged,
}

impl Judged {
    fn new(group: &Group, name: &str, what: &str) -> Self {
        let labels = ["mode", "decision"];
        let bounds = exponential(0.001, 2.0, 15);
        let (total, duration) = (
            format!("apiserver_impersonation_{name}_total"),
            format!("apiserver_impersonation_{name}_duration_seconds"),
        );
        let count = group.counters(
            Alpha,
            &total,
            &format!("Total number of {what} split by mode and decision."),
            &labels,
        );
        let took = group.histograms(
            Alpha,
            &duration,
            &format!("Latency of {what} in seconds split by mode and decision."),
            &labels,
            &bounds,
        );
        Self { count, took }
    }

    fn note(&self, mode: &str, is_allowed: bool, took: Duration) {
        let labels = [mode, if is_allowed { "allowed" } else { "denied" }];
        self.count.with_label_values(&labels).inc();
        self.took.with_label_values(&labels).observe(took.as_secs_f64());
    }
}

impl Impersonations {
    pub(super) fn new(group: &Group) -> Self {
        Self {
            attempts: Judged::new(group, "attempts", "impersonation attempts"),
            questions: Judged::new(
                group,
                "authorization_attempts",
                "authorization checks made by the impersonation handler",
            ),
        }
    }

    /// An attempt, and the mode that allowed it.
    pub(crate) fn attempt(&self, mode: Option<&str>, took: Duration) {
        self.attempts.note(mode.unwrap_or_default(), mode.is_some(), took);
    }

    /// An authorizer's answer to one question of a mode.
    pub(crate) fn asked(&self, mode: &str, is_allowed: bool, took: Duration) {
        self.questions.note(mode, is_allowed, took);
    }
}
