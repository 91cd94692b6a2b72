//! A webhook that says who may do what: asked by SubjectAccessReview, its answers kept for a time of the operator's choice.
//!
//! <https://kubernetes.io/docs/reference/access-authn-authz/webhook/>. What it could not be asked is not remembered: the next
//! request asks again.

use async_trait::async_trait;
use keelson_auth::authz::{
    FailurePolicy, ReviewError, ReviewStatus, Reviewer, WebhookRules, review, review_status,
};
use keelson_metrics::{DEFAULT, Group, HistogramVec, Stability::Beta};
use keelson_webhook::{CallError, Remote};
use quick_cache::sync::Cache;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{
    fmt::Write as _,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Answers kept at a time, of one webhook; of more, those not used longest are forgotten. Upstream's number.
const ANSWERS_MAX: usize = 8192;
/// Answers to longer questions are not kept: whoever asks chooses what stands in them.
const QUESTION_BYTES_MAX: usize = 10_000;

/// A webhook as it is configured.
pub struct AccessWebhook {
    /// What the configuration says of it.
    pub rules: WebhookRules,
    /// Where it is.
    pub remote: Remote,
}

/// How often a webhook was asked, by what came of it.
#[derive(Default)]
pub(super) struct Counts {
    outcomes: [AtomicU64; Outcome::ALL.len()],
    fail_open: [AtomicU64; Outcome::ALL.len()],
}

/// What came of a question.
#[derive(Clone, Copy)]
enum Outcome {
    Success,
    Timeout,
    Error,
    /// Whoever asked went away.
    Canceled,
}

impl Outcome {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Success, "success"),
        (Self::Timeout, "timeout"),
        (Self::Error, "error"),
        (Self::Canceled, "canceled"),
    ];
}

impl Counts {
    pub(super) fn render(&self, name: &str, out: &mut String) {
        for (outcome, result) in Outcome::ALL {
            let count = self.outcomes[outcome as usize].load(Relaxed);
            let _ = writeln!(
                out,
                "apiserver_authorization_webhook_evaluations_total{{name=\"{name}\",result=\"{result}\"}} {count}"
            );
        }
    }

    pub(super) fn render_fail_open(&self, name: &str, out: &mut String) {
        for (outcome, result) in Outcome::ALL {
            let count = self.fail_open[outcome as usize].load(Relaxed);
            let _ = writeln!(
                out,
                "apiserver_authorization_webhook_evaluations_fail_open_total{{name=\"{name}\",result=\"{result}\"}} {count}"
            );
        }
    }
}

static DURATIONS: LazyLock<HistogramVec> = LazyLock::new(|| {
    Group::process().histograms(
        Beta,
        "apiserver_authorization_webhook_duration_seconds",
        "Request latency in seconds.",
        &["name", "result"],
        &DEFAULT,
    )
});

/// Counts a question when it is over, however it ends, and how long it took.
struct Counted<'a> {
    name: &'a str,
    counts: &'a Counts,
    outcome: Outcome,
    began: Instant,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.counts.outcomes[self.outcome as usize].fetch_add(1, Relaxed);
        let result = Outcome::ALL[self.outcome as usize].1;
        let duration = DURATIONS.with_label_values(&[self.name, result]);
        duration.observe(self.began.elapsed().as_secs_f64());
    }
}

/// The webhook with what it has answered.
pub(super) struct Asked {
    name: String,
    pub(super) counts: Arc<Counts>,
    remote: Remote,
    failure: FailurePolicy,
    timeout: Duration,
    authorized_ttl: Duration,
    unauthorized_ttl: Duration,
    version: String,
    answers: Cache<[u8; 32], Answer>,
}

#[derive(Clone)]
struct Answer {
    until: Instant,
    status: ReviewStatus,
}

impl Asked {
    /// `rules` but for what the chain itself looks at.
    pub(super) fn new(remote: Remote, rules: &WebhookRules, counts: Arc<Counts>) -> Self {
        Self {
            name: rules.name.clone(),
            counts,
            remote,
            failure: rules.failure,
            timeout: rules.timeout,
            authorized_ttl: rules.authorized_ttl,
            unauthorized_ttl: rules.unauthorized_ttl,
            version: rules.version.clone(),
            answers: Cache::new(ANSWERS_MAX),
        }
    }

    async fn ask(&self, spec: &Value) -> Result<ReviewStatus, CallError> {
        let mut counted = Counted {
            name: &self.name,
            counts: &self.counts,
            outcome: Outcome::Canceled,
            began: Instant::now(),
        };
        let asked = self.remote.review(&review(spec, &self.version), self.timeout).await;
        let broken = |why| CallError::Broken { url: self.remote.url().to_owned(), why };
        let outcome = asked.and_then(|answer| review_status(&answer).map_err(broken));
        counted.outcome = match &outcome {
            Ok(_) => Outcome::Success,
            Err(error) if error.is_timeout() => Outcome::Timeout,
            Err(_) => Outcome::Error,
        };
        if outcome.is_err() && self.failure == FailurePolicy::NoOpinion {
            self.counts.fail_open[counted.outcome as usize].fetch_add(1, Relaxed);
        }
        outcome
    }

    fn ttl(&self, status: &ReviewStatus) -> Duration {
        if status.allowed { self.authorized_ttl } else { self.unauthorized_ttl }
    }
}

#[async_trait]
impl Reviewer for Asked {
    async fn review(&self, spec: &Value) -> Result<ReviewStatus, ReviewError> {
        let question = spec.to_string();
        let key: [u8; 32] = Sha256::digest(&question).into();
        if let Some(known) = self.answers.get(&key).filter(|known| Instant::now() < known.until) {
            return Ok(known.status);
        }
        let status = self.ask(spec).await.map_err(|error| {
            tracing::warn!(%error, "the webhook of authorization could not be asked");
            ReviewError(error.to_string())
        })?;
        let ttl = self.ttl(&status);
        if !ttl.is_zero() && question.len() <= QUESTION_BYTES_MAX {
            self.answers.insert(key, Answer { until: Instant::now() + ttl, status: status.clone() });
        }
        Ok(status)
    }
}
