//! In which order a namespace is emptied, and what its conditions say of it. Pure.
//!
//! Pods go first, and everything else only when no pod is left: what pods need (secrets, policies, services) must not
//! go before them (KEP-5080).

use keelson_harness::{Resource, Timestamp, discovery::Served};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The resources that have to be emptied, in two waves.
pub(super) fn waves(served: &[Served]) -> [Vec<&Served>; 2] {
    let has_content = |s: &&Served| s.resource.namespaced && s.allows(&["list", "delete"]);
    let (pods, others) = served
        .iter()
        .filter(has_content)
        .partition(|s| s.resource.group.is_empty() && s.resource.plural == "pods");
    [pods, others]
}

/// What is left of the content, and what went wrong.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Group versions whose resources are unknown.
    pub(super) undiscovered: Vec<(String, String)>,
    /// Errors of deleting or listing.
    pub(super) failures: Vec<String>,
    /// Objects left, by resource.
    pub(super) remaining: BTreeMap<Resource, usize>,
    /// Objects left that wait for a finalizer, by finalizer.
    pub(super) finalizers: BTreeMap<String, usize>,
    /// The longest grace period of what is left, in seconds.
    pub(super) grace_seconds: i64,
}

impl Findings {
    /// Is the namespace known to be empty?
    pub(super) fn is_empty(&self) -> bool {
        self.undiscovered.is_empty() && self.failures.is_empty() && self.remaining.is_empty()
    }
}

/// The five conditions of a namespace that is going away. Those whose status stays keep their time.
pub(super) fn conditions(findings: &Findings, old: &Value, now: Timestamp) -> Vec<Value> {
    let list = |items: Vec<String>, joint: &str| items.join(joint);
    let failed: Vec<String> = findings.undiscovered.iter().map(|(gv, e)| format!("{gv}: {e}")).collect();
    let remaining = findings
        .remaining
        .iter()
        .map(|(r, n)| format!("{}.{} has {n} resource instances", r.plural, r.group));
    let finalizers = findings.finalizers.iter().map(|(f, n)| format!("{f} in {n} resource instances"));
    let rows = [
        (
            "NamespaceDeletionDiscoveryFailure",
            (!failed.is_empty()).then(|| {
                let text = format!(
                    "Discovery failed for some groups, {} failing: {}",
                    failed.len(),
                    failed.join(", ")
                );
                ("DiscoveryFailed", text)
            }),
            ("ResourcesDiscovered", "All resources successfully discovered"),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            None,
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ),
        (
            "NamespaceDeletionContentFailure",
            (!findings.failures.is_empty()).then(|| {
                let (n, all) = (findings.failures.len(), findings.failures.join(", "));
                (
                    "ContentDeletionFailed",
                    format!("Failed to delete all resource types, {n} remaining: {all}"),
                )
            }),
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        ),
        (
            "NamespaceContentRemaining",
            (!findings.remaining.is_empty()).then(|| {
                let all = list(remaining.collect(), ", ");
                ("SomeResourcesRemain", format!("Some resources are remaining: {all}"))
            }),
            ("ContentRemoved", "All content successfully removed"),
        ),
        (
            "NamespaceFinalizersRemaining",
            (!findings.finalizers.is_empty()).then(|| {
                let all = list(finalizers.collect(), ", ");
                let text = format!("Some content in the namespace has finalizers remaining: {all}");
                ("SomeFinalizersRemain", text)
            }),
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ),
    ];
    rows.map(|(kind, trouble, fine)| {
        let (status, reason, message) = match trouble {
            Some((reason, message)) => ("True", reason, message),
            None => ("False", fine.0, fine.1.to_owned()),
        };
        let before = old.as_array().into_iter().flatten().find(|c| c["type"] == kind && c["status"] == status);
        let since = before.map_or_else(|| json!(now), |c| c["lastTransitionTime"].clone());
        json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since})
    })
    .into()
}
