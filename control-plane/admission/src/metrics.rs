//! How long admission takes, under upstream's names (`k8s.io/apiserver/pkg/admission/metrics`): each plugin, each of the two steps
//! as a whole, each webhook. Series are resolved once.

use keelson_metrics::{
    Group, Histogram, HistogramVec, IntCounterVec,
    Stability::{Alpha, Stable},
    seconds,
};
use keelson_registry::{Operation, Status};
use std::{
    sync::{LazyLock, OnceLock},
    time::{Duration, Instant},
};

/// Upper bounds of plugins and steps, in milliseconds; a webhook has two more.
const BOUNDS_MS: [u32; 8] = [5, 25, 100, 500, 1_000, 2_500, 10_000, 25_000];
const OWN_BOUNDS: usize = 6;
/// Statuses that plugins give; others count as this.
const CODE_MAX: u16 = 600;

/// Which half of admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Objects may be changed.
    Admit,
    /// They are as they shall be.
    Validate,
}

impl Step {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Validate => "validate",
        }
    }
}

struct Families {
    steps: HistogramVec,
    plugins: HistogramVec,
    webhooks: HistogramVec,
    asked: IntCounterVec,
    rejections: IntCounterVec,
    failed_open: IntCounterVec,
}

static FAMILIES: LazyLock<Families> = LazyLock::new(|| {
    let group = Group::process();
    let bounds = seconds(&BOUNDS_MS);
    let of_name = ["name", "type", "operation", "rejected"];
    Families {
        steps: group.histograms(
            Stable,
            "apiserver_admission_step_admission_duration_seconds",
            "Admission sub-step latency histogram in seconds, broken out for each operation and API resource and step type (validate or admit).",
            &["type", "operation", "rejected"],
            &bounds[..OWN_BOUNDS],
        ),
        plugins: group.histograms(
            Stable,
            "apiserver_admission_controller_admission_duration_seconds",
            "Admission controller latency histogram in seconds, identified by name and broken out for each operation and API resource and type (validate or admit).",
            &of_name,
            &bounds[..OWN_BOUNDS],
        ),
        webhooks: group.histograms(
            Stable,
            "apiserver_admission_webhook_admission_duration_seconds",
            "Admission webhook latency histogram in seconds, identified by name and broken out for each operation and API resource and type (validate or admit).",
            &of_name,
            &bounds,
        ),
        asked: group.counters(
            Alpha,
            "apiserver_admission_webhook_request_total",
            "Admission webhook request total, identified by name and broken out for each admission type (validating or mutating) and operation. Additional labels specify whether the request was rejected or not and an HTTP status code. Codes greater than 600 are truncated to 600, to keep the metrics cardinality bounded.",
            &["name", "type", "operation", "code", "rejected"],
        ),
        rejections: group.counters(
            Alpha,
            "apiserver_admission_webhook_rejection_count",
            "Admission webhook rejection count, identified by name and broken out for each admission type (validating or admit) and operation. Additional labels specify an error type (calling_webhook_error or apiserver_internal_error if an error occurred; no_error otherwise) and optionally a non-zero rejection code if the webhook rejects the request with an HTTP status code (honored by the apiserver when the code is greater or equal to 400). Codes greater than 600 are truncated to 600, to keep the metrics cardinality bounded.",
            &["name", "type", "operation", "error_type", "rejection_code"],
        ),
        failed_open: group.counters(
            Alpha,
            "apiserver_admission_webhook_fail_open_count",
            "Admission webhook fail open count, identified by name and broken out for each admission type (validating or mutating).",
            &["name", "type"],
        ),
    }
});

/// Times one plugin, or a step as a whole.
pub(crate) struct Timer {
    /// None: the step.
    name: Option<&'static str>,
    /// By step, operation and outcome.
    series: [[[OnceLock<Histogram>; 2]; 4]; 2],
}

impl Timer {
    pub(crate) fn of(name: &'static str) -> Self {
        Self { name: Some(name), series: Default::default() }
    }

    pub(crate) fn of_step() -> Self {
        Self { name: None, series: Default::default() }
    }

    /// Does the work and notes how long it took and whether it refused.
    pub(crate) async fn run<T>(
        &self,
        step: Step,
        operation: Operation,
        work: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let began = Instant::now();
        let result = work.await;
        self.note(step, operation, result.is_err(), began.elapsed());
        result
    }

    fn note(&self, step: Step, operation: Operation, rejected: bool, took: Duration) {
        let series = &self.series[step as usize][operation as usize][usize::from(rejected)];
        let resolve = || {
            let (step, operation, rejected) = (step.as_str(), operation.as_str(), truth(rejected));
            match self.name {
                Some(name) => FAMILIES.plugins.with_label_values(&[name, step, operation, rejected]),
                None => FAMILIES.steps.with_label_values(&[step, operation, rejected]),
            }
        };
        series.get_or_init(resolve).observe(took.as_secs_f64());
    }
}

/// What came of asking a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Allowed,
    /// It said no, with this code.
    Denied(u16),
    /// It could not be asked, and the request goes on without it.
    FailedOpen,
    /// It could not be asked, and so the request may not go on.
    FailedClosed,
}

/// Counts an answer of a webhook.
pub(crate) fn webhook(name: &str, is_mutating: bool, operation: Operation, asked: Asked, took: Duration) {
    let kind = if is_mutating { "admit" } else { "validating" };
    let (code, rejected) = match asked {
        Asked::Allowed => (200, false),
        Asked::Denied(code) => (code.min(CODE_MAX), true),
        Asked::FailedOpen => (0, false),
        Asked::FailedClosed => (0, true),
    };
    let (operation, code, text) = (operation.as_str(), code.to_string(), truth(rejected));
    FAMILIES.webhooks.with_label_values(&[name, kind, operation, text]).observe(took.as_secs_f64());
    FAMILIES.asked.with_label_values(&[name, kind, operation, &code, text]).inc();
    let why = match asked {
        Asked::Allowed => return,
        Asked::FailedOpen => return FAMILIES.failed_open.with_label_values(&[name, kind]).inc(),
        Asked::Denied(_) => "no_error",
        Asked::FailedClosed => "calling_webhook_error",
    };
    FAMILIES.rejections.with_label_values(&[name, kind, operation, why, &code]).inc();
}

const fn truth(is_so: bool) -> &'static str {
    if is_so { "true" } else { "false" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn plugins_steps_and_webhooks_are_told_by_their_outcome() {
        let (plugin, step) = (Timer::of("Own"), Timer::of_step());
        let no = async { Err::<(), _>(Status::bad_request("no")) };
        assert!(plugin.run(Step::Validate, Operation::Update, no).await.is_err());
        assert!(step.run(Step::Admit, Operation::Create, async { Ok(()) }).await.is_ok());
        let took = Duration::from_secs(3);
        for asked in [Asked::Allowed, Asked::Denied(999), Asked::FailedOpen, Asked::FailedClosed] {
            webhook("a.b.c", true, Operation::Delete, asked, took);
        }
        let mut text = String::new();
        Group::process().render(&mut text);
        let prefix = "apiserver_admission_";
        for line in [
            r#"controller_admission_duration_seconds_count{name="Own",operation="UPDATE",rejected="true",type="validate"} 1"#,
            r#"step_admission_duration_seconds_bucket{operation="CREATE",rejected="false",type="admit",le="2.5"} 1"#,
            r#"webhook_admission_duration_seconds_bucket{name="a.b.c",operation="DELETE",rejected="true",type="admit",le="2.5"} 0"#,
            r#"webhook_admission_duration_seconds_bucket{name="a.b.c",operation="DELETE",rejected="true",type="admit",le="10"} 2"#,
            r#"webhook_request_total{code="600",name="a.b.c",operation="DELETE",rejected="true",type="admit"} 1"#,
            r#"webhook_fail_open_count{name="a.b.c",type="admit"} 1"#,
            r#"webhook_rejection_count{error_type="calling_webhook_error",name="a.b.c",operation="DELETE",rejection_code="0",type="admit"} 1"#,
        ] {
            assert!(text.contains(&format!("{prefix}{line}")), "{line}: {text}");
        }
    }
}
