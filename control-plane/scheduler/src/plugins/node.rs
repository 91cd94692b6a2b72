//! NodeUnschedulable, NodeName, TaintToleration.

use super::{Plugin, Refusal};
use crate::cluster::{NodeInfo, PodInfo};
use keelson_semantics::{
    Taint,
    taints::{
        effect::{NO_EXECUTE, NO_SCHEDULE, PREFER_NO_SCHEDULE},
        first_untolerated,
    },
};

const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// A cordoned node takes only pods that tolerate the taint that stands for it.
pub(super) fn unschedulable(pod: &PodInfo, node: &NodeInfo) -> Result<(), Refusal> {
    if !node.node.as_ref().is_some_and(|n| n.spec.unschedulable) {
        return Ok(());
    }
    let taint = Taint { key: UNSCHEDULABLE.into(), effect: NO_SCHEDULE.into(), ..Taint::default() };
    if pod.pod.spec.tolerations.iter().any(|t| t.tolerates(&taint)) {
        return Ok(());
    }
    Err(Refusal::new(Plugin::NodeUnschedulable, "node(s) were unschedulable"))
}

/// spec.nodeName, where it is a wish (of a pod that is simulated) and not a fact.
pub(super) fn name(pod: &PodInfo, node: &NodeInfo) -> Result<(), Refusal> {
    let wanted = &pod.pod.node_name;
    let is = node.node.as_ref().is_some_and(|n| n.metadata.name == *wanted);
    if wanted.is_empty() || is {
        return Ok(());
    }
    Err(Refusal::new(Plugin::NodeName, "node(s) didn't match the requested node name"))
}

pub(super) fn taints(pod: &PodInfo, node: &NodeInfo) -> Result<(), Refusal> {
    let taints = node.node.as_ref().map_or(&[][..], |n| &n.spec.taints);
    match first_untolerated(taints, &pod.pod.spec.tolerations, &[NO_SCHEDULE, NO_EXECUTE]) {
        None => Ok(()),
        Some(taint) => {
            let reason = format!("node(s) had untolerated taint {{{}: {}}}", taint.key, taint.value);
            Err(Refusal::new(Plugin::TaintToleration, reason))
        }
    }
}

/// Taints that ask to stay away, and are not tolerated.
pub(super) fn unpreferred_taints(pod: &PodInfo, node: &NodeInfo) -> f64 {
    let taints = node.node.as_ref().map_or(&[][..], |n| &n.spec.taints);
    let soft = taints.iter().filter(|t| t.effect == PREFER_NO_SCHEDULE);
    soft.filter(|taint| !pod.pod.spec.tolerations.iter().any(|t| t.tolerates(taint))).count() as f64
}
