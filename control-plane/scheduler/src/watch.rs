//! From informers' changes to the cache and the queue: what changed, and which refused pods that may help.

use crate::{
    Scheduler,
    cluster::PodInfo,
    plugins::{Plugin, Plugins},
};
use keelson_harness::{
    Change,
    views::{Node, Pod},
};
use std::sync::Arc;

/// A pod on a node went or shrank.
const POD_GONE: Plugins = Plugins::of(&[
    Plugin::NodeResourcesFit,
    Plugin::NodePorts,
    Plugin::PodTopologySpread,
    Plugin::InterPodAffinity,
]);
/// A pod was placed: others may want to be near it, or the spread has changed.
const POD_PLACED: Plugins = Plugins::of(&[Plugin::PodTopologySpread, Plugin::InterPodAffinity]);

/// Upstream's name of a placed pod that went, or that was not placed after all.
pub(crate) const POD_DELETE: &str = "AssignedPodDelete";

/// Which plugins may answer differently now.
pub(crate) fn node_helps(change: &Change<Node>) -> Plugins {
    let (Some(old), Some(new)) = (&change.old, &change.new) else { return Plugins::ALL };
    let rows = [
        (old.spec.unschedulable != new.spec.unschedulable, Plugin::NodeUnschedulable),
        (old.spec.taints != new.spec.taints, Plugin::TaintToleration),
        (old.spec.taints != new.spec.taints, Plugin::PodTopologySpread),
        (old.status.allocatable != new.status.allocatable, Plugin::NodeResourcesFit),
        (old.metadata.labels != new.metadata.labels, Plugin::NodeAffinity),
        (old.metadata.labels != new.metadata.labels, Plugin::PodTopologySpread),
        (old.metadata.labels != new.metadata.labels, Plugin::InterPodAffinity),
    ];
    let mut helps = Plugins::default();
    rows.iter().filter(|(changed, _)| *changed).for_each(|(_, plugin)| helps.insert(*plugin));
    helps
}

/// What happened to a node, by upstream's names; of several changes at once the first that it looks at.
fn node_event(change: &Change<Node>) -> &'static str {
    match (&change.old, &change.new) {
        (None, _) => "NodeAdd",
        (_, None) => "NodeDelete",
        (Some(old), Some(new)) if old.spec.unschedulable && !new.spec.unschedulable => "NodeUpdateNodeTaint",
        (Some(old), Some(new)) if old.status.allocatable != new.status.allocatable => {
            "NodeUpdateNodeAllocatable"
        }
        (Some(old), Some(new)) if old.metadata.labels != new.metadata.labels => "NodeUpdateNodeLabel",
        _ => "NodeUpdateNodeTaint",
    }
}

/// Does the pod use up its node?
fn is_placed(pod: &Pod) -> bool {
    !pod.node_name.is_empty() && !pod.is_finished()
}

impl Scheduler {
    pub(crate) fn node_changed(&self, change: &Change<Node>) {
        {
            let mut cache = self.cache.lock();
            match &change.new {
                Some(node) => cache.set_node(node),
                None => cache.remove_node(&change.latest().metadata.name),
            }
        }
        let helps = node_helps(change);
        if !helps.is_empty() {
            self.queue.event(helps, node_event(change));
        }
    }

    pub(crate) fn pod_changed(&self, change: &Change<Pod>) {
        let uid = change.latest().metadata.uid.clone();
        let was_placed = change.old.as_deref().is_some_and(is_placed);
        match change.new.as_ref() {
            Some(pod) if is_placed(pod) => {
                self.queue.remove(&uid);
                // Status changes of a pod that is placed say nothing about its node.
                let same = |old: &Arc<Pod>| {
                    old.node_name == pod.node_name
                        && old.spec == pod.spec
                        && old.metadata.labels == pod.metadata.labels
                        && old.metadata.is_deleting() == pod.metadata.is_deleting()
                };
                if !change.old.as_ref().is_some_and(same) {
                    self.cache.lock().add(pod);
                    match was_placed {
                        true => self.queue.event(POD_GONE.union(POD_PLACED), "AssignedPodUpdate"),
                        false => self.queue.event(POD_PLACED, "AssignedPodAdd"),
                    }
                }
            }
            Some(pod) if self.is_ours(pod) => self.waiting_changed(change.old.as_deref(), pod),
            _ => {
                self.queue.remove(&uid);
                self.cache.lock().remove(&uid);
                if was_placed {
                    self.queue.event(POD_GONE, POD_DELETE);
                }
            }
        }
    }

    /// Waits for this scheduler to place it.
    fn is_ours(&self, pod: &Pod) -> bool {
        pod.node_name.is_empty()
            && pod.is_active()
            && pod.spec.scheduler_name == self.config.scheduler_name
            && pod.spec.scheduling_gates.is_empty()
    }

    /// Our own condition in the status must not bring the pod back: only what scheduling reads counts.
    fn waiting_changed(&self, old: Option<&Pod>, pod: &Arc<Pod>) {
        let same = old.is_some_and(|old| old.spec == pod.spec && old.metadata.labels == pod.metadata.labels);
        if !same && !self.cache.lock().is_placed(&pod.metadata.uid) {
            self.queue.add(Arc::new(PodInfo::new(pod.clone())));
        }
    }
}
