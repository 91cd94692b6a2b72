//! Who is asked, in which order: the steps of a chain, and the one of them that must wait, a webhook.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use async_trait::async_trait;
use keelson_metrics::{Group, HistogramVec, Stability::Alpha};
use serde_json::Value;

use super::conditions::MatchConditions;
use super::review::{self, ReviewStatus};
use super::{Attributes, Decision, Verdict};

/// How long the conditions of a webhook take, under upstream's name (`k8s.io/apiserver/pkg/authorization/cel`).
static CONDITIONS: LazyLock<HistogramVec> = LazyLock::new(|| {
    Group::process().histograms(
        Alpha,
        "apiserver_authorization_match_condition_evaluation_seconds",
        "Authorization match condition evaluation time in seconds, split by authorizer type and name.",
        &["type", "name"],
        &[0.001, 0.005, 0.01, 0.025, 0.1, 0.2, 0.25],
    )
});

/// Why a webhook said nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReviewError(pub String);

/// The seam to a webhook, with its connection, its time limit and what it has answered before.
#[async_trait]
pub trait Reviewer: Send + Sync {
    /// Its opinion on a question, which is the spec of a SubjectAccessReview (v1).
    async fn review(&self, spec: &Value) -> Result<ReviewStatus, ReviewError>;
}

/// What is said where a webhook cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailurePolicy {
    /// Others are asked.
    NoOpinion,
    /// The request is refused.
    Deny,
}

/// Authorizers in their order. Replaced as a whole.
pub struct Chain(Vec<Step>);

/// One authorizer.
pub struct Step {
    name: Arc<str>,
    pub(super) by: By,
    counts: Arc<Counters>,
}

pub(super) enum By {
    Node,
    Rbac,
    Webhook(Webhook),
}

pub(super) struct Webhook {
    conditions: MatchConditions,
    failure: FailurePolicy,
    reviewer: Arc<dyn Reviewer>,
}

#[derive(Default)]
struct Counters {
    allowed: AtomicU64,
    denied: AtomicU64,
    conditions_excluded: AtomicU64,
    conditions_failed: AtomicU64,
}

/// How often a step decided, since it is in the chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepCounts {
    /// Requests that it allowed.
    pub allowed: u64,
    /// Requests that it refused.
    pub denied: u64,
    /// Requests that its conditions kept from it.
    pub conditions_excluded: u64,
    /// Requests for which they could not be evaluated.
    pub conditions_failed: u64,
}

impl Default for Chain {
    /// Node, then RBAC.
    fn default() -> Self {
        Self(vec![Step::node(), Step::rbac()])
    }
}

impl Chain {
    /// Of these steps.
    pub fn new(steps: Vec<Step>) -> Self {
        Self(steps)
    }

    /// Its steps, in the order in which they are asked.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Goes on counting where the same authorizers of another chain are.
    pub(super) fn continuing(mut self, before: &Self) -> Self {
        for step in &mut self.0 {
            let same = |old: &&Step| (old.kind(), &old.name) == (step.kind(), &step.name);
            if let Some(old) = before.0.iter().find(same) {
                step.counts = old.counts.clone();
            }
        }
        self
    }
}

impl Step {
    fn new(name: &str, by: By) -> Self {
        Self { name: name.into(), by, counts: Arc::default() }
    }

    /// The node authorizer.
    pub fn node() -> Self {
        Self::new("node", By::Node)
    }

    /// RBAC.
    pub fn rbac() -> Self {
        Self::new("rbac", By::Rbac)
    }

    /// A webhook, asked where the conditions hold.
    pub fn webhook(
        name: &str,
        conditions: MatchConditions,
        failure: FailurePolicy,
        reviewer: Arc<dyn Reviewer>,
    ) -> Self {
        Self::new(name, By::Webhook(Webhook { conditions, failure, reviewer }))
    }

    /// `Node`, `RBAC` or `Webhook`.
    pub fn kind(&self) -> &'static str {
        match self.by {
            By::Node => "Node",
            By::Rbac => "RBAC",
            By::Webhook(_) => "Webhook",
        }
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it has decided.
    pub fn counts(&self) -> StepCounts {
        let Counters { allowed, denied, conditions_excluded, conditions_failed } = &*self.counts;
        StepCounts {
            allowed: allowed.load(Relaxed),
            denied: denied.load(Relaxed),
            conditions_excluded: conditions_excluded.load(Relaxed),
            conditions_failed: conditions_failed.load(Relaxed),
        }
    }

    pub(super) async fn ask(&self, webhook: &Webhook, attributes: &Attributes<'_>) -> Verdict {
        let holds = match webhook.conditions.is_empty() {
            true => Ok(true),
            false => {
                let began = Instant::now();
                let holds = webhook.conditions.hold(attributes);
                let series = CONDITIONS.with_label_values(&[self.kind(), &self.name]);
                series.observe(began.elapsed().as_secs_f64());
                holds
            }
        };
        match holds {
            Ok(true) => webhook.ask(attributes).await,
            Ok(false) => {
                self.counts.conditions_excluded.fetch_add(1, Relaxed);
                Verdict::no_opinion(None)
            }
            Err(error) => {
                self.counts.conditions_failed.fetch_add(1, Relaxed);
                webhook.failed(&error)
            }
        }
    }
}

impl Webhook {
    async fn ask(&self, attributes: &Attributes<'_>) -> Verdict {
        let status = match self.reviewer.review(&review::spec(attributes)).await {
            Ok(status) => status,
            Err(error) => return self.failed(&error.0),
        };
        let reason = (!status.reason.is_empty()).then(|| Arc::from(status.reason));
        let (decision, error) = match (status.denied, status.allowed) {
            (true, true) => {
                (Decision::Deny, Some("webhook subject access review returned both allow and deny response"))
            }
            (true, false) => (Decision::Deny, None),
            (false, true) => (Decision::Allow, None),
            (false, false) => (Decision::NoOpinion, None),
        };
        Verdict { decision, reason, error: error.map(Arc::from) }
    }

    fn failed(&self, error: &str) -> Verdict {
        let decision = match self.failure {
            FailurePolicy::NoOpinion => Decision::NoOpinion,
            FailurePolicy::Deny => Decision::Deny,
        };
        Verdict { decision, reason: None, error: Some(error.into()) }
    }
}

/// What the steps before said, none of which decided.
#[derive(Default)]
pub(super) struct Undecided {
    reasons: Vec<Arc<str>>,
    errors: Vec<String>,
}

impl Undecided {
    /// The verdict, where the step decided.
    pub(super) fn or(&mut self, step: &Step, verdict: Verdict) -> Option<Verdict> {
        match verdict.decision {
            Decision::Allow => {
                step.counts.allowed.fetch_add(1, Relaxed);
                Some(verdict)
            }
            Decision::Deny => {
                step.counts.denied.fetch_add(1, Relaxed);
                Some(verdict)
            }
            Decision::NoOpinion => {
                self.reasons.extend(verdict.reason);
                self.errors.extend(verdict.error.map(|error| error.to_string()));
                None
            }
        }
    }

    /// Nobody decided.
    pub(super) fn verdict(self) -> Verdict {
        let reason = match self.reasons.as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            several => Some(several.join("\n").into()),
        };
        let error = (!self.errors.is_empty()).then(|| super::aggregated(&self.errors).into());
        Verdict { decision: Decision::NoOpinion, reason, error }
    }
}
