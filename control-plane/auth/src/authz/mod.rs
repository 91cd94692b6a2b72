//! May they: a chain of authorizers, the node authorizer and RBAC over snapshots that the caller keeps current, and webhooks.
//!
//! ```text
//! RBAC objects --apply--> RbacIndex --snapshot--> [Authorizer] <--relate-- pods and what else names nodes
//!                                                   | system:masters: allow
//!                                                   | each of the Chain in turn, until one allows or denies:
//!                                                   |   node authorizer, RBAC: allow or no opinion, at once
//!                                                   |   webhook: allow, deny or no opinion; waited for
//!                                                   ' nobody decided: together that is a 403
//! ```
//! Where no webhook is asked deciding waits for nothing and allocates nothing but reasons.

mod attributes;
mod chain;
mod compile;
mod conditions;
pub mod config;
pub mod node;
pub mod rbac;
mod review;

pub use attributes::{Attributes, NonResource, Request, Resource};
pub use chain::{Chain, FailurePolicy, ReviewError, Reviewer, Step, StepCounts};
pub use compile::{AUTHORIZERS_MAX, Authorizers, Configured, WebhookRules, compile};
pub use conditions::MatchConditions;
pub use node::{NodeGraph, Related};
pub use rbac::{PolicyRule, RbacIndex, RbacSnapshot};
pub use review::{ReviewStatus, review, status as review_status};

use std::sync::{Arc, PoisonError, RwLock};

use arc_swap::ArcSwap;
use serde_json::Value;

use crate::UserInfo;
use chain::{By, Undecided};

/// What an authorizer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The request may proceed.
    Allow,
    /// The request is refused, whatever others say.
    Deny,
    /// Somebody else may allow it.
    NoOpinion,
}

/// A decision and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The decision.
    pub decision: Decision,
    /// The rule that allowed, or what was missing; for the audit log, access reviews and the text of a 403.
    pub reason: Option<Arc<str>>,
    /// What went wrong with those that should have been asked. Does not matter where others allow.
    pub error: Option<Arc<str>>,
}

impl Verdict {
    /// May the request proceed?
    pub fn is_allowed(&self) -> bool {
        self.decision == Decision::Allow
    }

    pub(crate) fn allow(reason: Option<Arc<str>>) -> Self {
        Self { decision: Decision::Allow, reason, error: None }
    }

    pub(crate) fn no_opinion(reason: Option<Arc<str>>) -> Self {
        Self { decision: Decision::NoOpinion, reason, error: None }
    }
}

/// The chain of authorizers. Shared by all requests; fed by whoever watches RBAC objects and pods.
#[derive(Default)]
pub struct Authorizer {
    rbac: ArcSwap<RbacSnapshot>,
    /// Written per pod event, read per request of a node for an object of a pod: a lock held for one map operation.
    nodes: RwLock<NodeGraph>,
    chain: ArcSwap<Chain>,
}

impl Authorizer {
    /// Node and RBAC, knowing no roles yet: only `system:masters` may do anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the RBAC objects that are decided by.
    pub fn set_rbac(&self, snapshot: RbacSnapshot) {
        self.rbac.store(Arc::new(snapshot));
    }

    /// The RBAC objects that are decided by now.
    pub fn rbac(&self) -> Arc<RbacSnapshot> {
        self.rbac.load_full()
    }

    /// Records an object by which nodes are related to others, that was added or changed.
    pub fn relate(&self, kind: Related, object: &Value) {
        self.nodes.write().unwrap_or_else(PoisonError::into_inner).apply(kind, object);
    }

    /// Forgets one; its namespace is empty where it has none.
    pub fn forget(&self, kind: Related, namespace: &str, name: &str) {
        self.nodes.write().unwrap_or_else(PoisonError::into_inner).delete(kind, namespace, name);
    }

    /// Forgets all of a kind, after a watch was lost.
    pub fn forget_all(&self, kind: Related) {
        self.nodes.write().unwrap_or_else(PoisonError::into_inner).clear(kind);
    }

    /// Replaces the chain, from the next question on.
    pub fn set_chain(&self, chain: Chain) {
        let before = self.chain.load_full();
        self.chain.store(Arc::new(chain.continuing(&before)));
    }

    /// The chain that is asked now.
    pub fn chain(&self) -> Arc<Chain> {
        self.chain.load_full()
    }

    /// May this be done? A verdict other than [`Decision::Allow`] is a 403 with [`Attributes::forbidden_message`], or a 500
    /// where something went wrong.
    pub async fn decide(&self, attributes: &Attributes<'_>) -> Verdict {
        if attributes.user.is_master() {
            return Verdict::allow(None);
        }
        let chain = self.chain.load_full();
        let mut undecided = Undecided::default();
        for step in chain.steps() {
            let verdict = match &step.by {
                By::Node => self.by_node(attributes),
                By::Rbac => self.rbac.load().authorize(attributes),
                By::Webhook(webhook) => step.ask(webhook, attributes).await,
            };
            if let Some(decided) = undecided.or(step, verdict) {
                return decided;
            }
        }
        undecided.verdict()
    }

    /// The same for whoever cannot wait: None where it is a webhook's turn.
    pub fn settled(&self, attributes: &Attributes<'_>) -> Option<Verdict> {
        if attributes.user.is_master() {
            return Some(Verdict::allow(None));
        }
        let chain = self.chain.load_full();
        let mut undecided = Undecided::default();
        for step in chain.steps() {
            let verdict = match &step.by {
                By::Node => self.by_node(attributes),
                By::Rbac => self.rbac.load().authorize(attributes),
                By::Webhook(_) => return None,
            };
            if let Some(decided) = undecided.or(step, verdict) {
                return Some(decided);
            }
        }
        Some(undecided.verdict())
    }

    fn by_node(&self, attributes: &Attributes<'_>) -> Verdict {
        match attributes.user.node_name() {
            None => Verdict::no_opinion(None),
            Some(name) => {
                node::authorize(name, attributes, &self.nodes.read().unwrap_or_else(PoisonError::into_inner))
            }
        }
    }

    /// The status of a SelfSubjectRulesReview: what the user may do in a namespace, as far as it can be listed.
    pub fn review_rules(&self, user: &UserInfo, namespace: &str) -> Value {
        let chain = self.chain.load_full();
        let unlisted = chain.steps().iter().filter_map(|step| match step.by {
            By::Node => user.node_name().map(|_| "node authorizer does not support user rule resolution"),
            By::Rbac => None,
            By::Webhook(_) => Some("webhook authorizer does not support user rule resolution"),
        });
        let unlisted: Vec<&str> = unlisted.collect();
        match chain.steps().iter().any(|step| matches!(step.by, By::Rbac)) {
            true => self.rbac.load().review_rules(user, namespace, &unlisted),
            false => RbacSnapshot::default().review_rules(user, namespace, &unlisted),
        }
    }
}

/// Several errors as one text, in upstream's form.
fn aggregated(errors: &[String]) -> String {
    match errors {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    }
}

#[cfg(test)]
mod tests;
