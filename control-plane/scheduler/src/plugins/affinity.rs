//! NodeAffinity: nodeSelector, required and preferred terms.

use super::{Plugin, Refusal};
use crate::cluster::{NodeInfo, PodInfo};
use keelson_harness::views::{Node, NodeSelectorTerm};
use keelson_semantics::label_selector::LabelSelectorRequirement;
use std::collections::BTreeMap;

pub(super) fn required(pod: &PodInfo, node: &NodeInfo) -> Result<(), Refusal> {
    match node.node.as_ref().is_some_and(|n| is_required(pod, n)) {
        true => Ok(()),
        false => Err(Refusal::new(Plugin::NodeAffinity, "node(s) didn't match Pod's node affinity/selector")),
    }
}

/// Also asked by spreading: domains of nodes that the pod cannot use do not count.
pub(super) fn is_required(pod: &PodInfo, node: &Node) -> bool {
    let spec = &pod.pod.spec;
    let selected = spec.node_selector.iter().all(|(k, v)| node.metadata.labels.get(k) == Some(v));
    let required = spec.affinity.node_affinity.required.as_ref();
    selected && required.is_none_or(|r| r.node_selector_terms.iter().any(|term| matches(term, node)))
}

/// The weights of the preferred terms that match.
pub(super) fn preferred(pod: &PodInfo, node: &NodeInfo) -> f64 {
    let Some(node) = &node.node else { return 0.0 };
    let preferred = pod.pod.spec.affinity.node_affinity.preferred.iter();
    // Unlike a required term, an empty preferred one matches every node.
    let is = |t: &NodeSelectorTerm| is_empty(t) || matches(t, node);
    preferred.filter(|p| is(&p.preference)).map(|p| p.weight as f64).sum()
}

fn is_empty(term: &NodeSelectorTerm) -> bool {
    term.match_expressions.is_empty() && term.match_fields.is_empty()
}

/// All expressions; a term without any matches nothing, and so does one that cannot be read.
fn matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let fields = BTreeMap::from([("metadata.name".to_owned(), node.metadata.name.to_string())]);
    !is_empty(term)
        && holds(&term.match_expressions, &node.metadata.labels)
        && holds(&term.match_fields, &fields)
}

fn holds(requirements: &[LabelSelectorRequirement], labels: &BTreeMap<String, String>) -> bool {
    requirements.iter().all(|r| match r.key.as_str() {
        // Names of nodes are longer than label values may be, so they are compared here.
        "metadata.name" => {
            let listed = labels.get(&r.key).is_some_and(|name| r.values.contains(name));
            match r.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                _ => false,
            }
        }
        _ => r.to_requirement(true).is_ok_and(|r| r.matches(labels)),
    })
}
