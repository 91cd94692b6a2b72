//! May they: the node authorizer and RBAC, asked in that order, over snapshots that the caller keeps current.
//!
//! ```text
//! RBAC objects --apply--> RbacIndex --snapshot--> [Authorizer] <--apply-- Pods
//!                                                   | system:masters: allow
//!                                                   | node authorizer: allow or no opinion
//!                                                   ' RBAC: allow or no opinion, which together is a 403
//! ```
//! Nothing here ever denies outright: like upstream's chain, whoever no authorizer allows is forbidden.

mod attributes;
pub mod node;
pub mod rbac;

pub use attributes::{Attributes, FieldTerm, NonResource, Request, Resource};
pub use node::NodeGraph;
pub use rbac::{PolicyRule, RbacIndex, RbacSnapshot};

use std::sync::{Arc, PoisonError, RwLock};

use arc_swap::ArcSwap;
use serde_json::Value;

use crate::UserInfo;

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
}

impl Verdict {
    /// May the request proceed?
    pub fn is_allowed(&self) -> bool {
        self.decision == Decision::Allow
    }

    pub(crate) fn allow(reason: Option<Arc<str>>) -> Self {
        Self { decision: Decision::Allow, reason }
    }

    pub(crate) fn no_opinion(reason: Option<Arc<str>>) -> Self {
        Self { decision: Decision::NoOpinion, reason }
    }
}

/// The chain of authorizers. Shared by all requests; fed by whoever watches RBAC objects and pods.
#[derive(Default)]
pub struct Authorizer {
    rbac: ArcSwap<RbacSnapshot>,
    /// Written per pod event, read per request of a node for an object of a pod: a lock held for one map operation.
    nodes: RwLock<NodeGraph>,
}

impl Authorizer {
    /// An authorizer that knows no roles yet: only `system:masters` may do anything.
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

    /// Records a pod that was added or changed.
    pub fn apply_pod(&self, pod: &Value) {
        self.nodes.write().unwrap_or_else(PoisonError::into_inner).apply(pod);
    }

    /// Forgets a pod.
    pub fn delete_pod(&self, namespace: &str, name: &str) {
        self.nodes.write().unwrap_or_else(PoisonError::into_inner).delete(namespace, name);
    }

    /// Starts over with these pods, after a watch was lost.
    pub fn reset_pods<'a>(&self, pods: impl IntoIterator<Item = &'a Value>) {
        let mut graph = NodeGraph::default();
        pods.into_iter().for_each(|pod| graph.apply(pod));
        *self.nodes.write().unwrap_or_else(PoisonError::into_inner) = graph;
    }

    /// May this be done? A verdict other than [`Decision::Allow`] is a 403 with
    /// [`Attributes::forbidden_message`].
    pub fn authorize(&self, attributes: &Attributes<'_>) -> Verdict {
        if attributes.user.is_master() {
            return Verdict::allow(None);
        }
        let node = match attributes.user.node_name() {
            None => Verdict::no_opinion(None),
            Some(name) => {
                node::authorize(name, attributes, &self.nodes.read().unwrap_or_else(PoisonError::into_inner))
            }
        };
        if node.decision != Decision::NoOpinion {
            return node;
        }
        let rbac = self.rbac.load().authorize(attributes);
        match (rbac.decision, &node.reason, &rbac.reason) {
            (Decision::NoOpinion, Some(first), Some(second)) => {
                Verdict::no_opinion(Some(format!("{first}\n{second}").into()))
            }
            (Decision::NoOpinion, Some(_), None) => node,
            _ => rbac,
        }
    }

    /// The status of a SelfSubjectRulesReview: what the user may do in a namespace.
    pub fn review_rules(&self, user: &UserInfo, namespace: &str) -> Value {
        let unlisted = user.node_name().map(|_| "node authorizer does not support user rule resolution");
        self.rbac.load().review_rules(user, namespace, unlisted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masters_may_do_everything_before_any_role_is_known() {
        let authorizer = Authorizer::new();
        let root = UserInfo::authenticated("root", ["system:masters"]);
        let other = UserInfo::authenticated("other", ["x"]);
        let ask = |user| authorizer.authorize(&Attributes::path(user, "get", "/metrics")).decision;
        assert_eq!(ask(&root), Decision::Allow);
        assert_eq!(ask(&other), Decision::NoOpinion);
    }
}
