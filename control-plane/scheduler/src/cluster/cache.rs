//! The changing side of the cluster's picture: informers' events and the scheduler's own assumptions, in; snapshots, out.
//!
//! An assumed pod counts on its node from the decision on. It becomes a real one when the watch shows it bound, and is
//! forgotten if binding fails.

use super::{NodeInfo, PodInfo, Snapshot};
use keelson_harness::views::{Node, Pod};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

#[derive(Default)]
pub(crate) struct Cache {
    snapshot: Snapshot,
    /// Pods whose node is not known, by node; they count as soon as it is.
    homeless: HashMap<Arc<str>, NodeInfo>,
    /// Where each pod is counted.
    placed: HashMap<Arc<str>, Placed>,
}

struct Placed {
    node: Arc<str>,
    assumed: bool,
}

impl Cache {
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.snapshot.clone()
    }

    pub(crate) fn set_namespace(&mut self, name: &Arc<str>, labels: Option<Arc<BTreeMap<String, String>>>) {
        match labels {
            Some(labels) => drop(self.snapshot.namespaces.insert(name.clone(), labels)),
            None => drop(self.snapshot.namespaces.remove(name)),
        }
    }

    pub(crate) fn set_node(&mut self, node: &Arc<Node>) {
        let name = &node.metadata.name;
        let known = self.snapshot.nodes.get(name).map(|n| (**n).clone());
        let mut info = known.or_else(|| self.homeless.remove(name)).unwrap_or_else(NodeInfo::empty);
        info.set_node(Some(node.clone()));
        self.snapshot.nodes.insert(name.clone(), Arc::new(info));
    }

    pub(crate) fn remove_node(&mut self, name: &Arc<str>) {
        if let Some(info) = self.snapshot.nodes.remove(name)
            && !info.pods.is_empty()
        {
            let mut info = (*info).clone();
            info.set_node(None);
            self.homeless.insert(name.clone(), info);
        }
    }

    fn change(&mut self, node: &Arc<str>, f: impl FnOnce(&mut NodeInfo)) {
        if let Some(info) = self.snapshot.nodes.get_mut(node) {
            return f(Arc::make_mut(info));
        }
        let info = self.homeless.entry(node.clone()).or_insert_with(NodeInfo::empty);
        f(info);
        if info.pods.is_empty() {
            self.homeless.remove(node);
        }
    }

    fn place(&mut self, pod: Arc<PodInfo>, node: &Arc<str>, assumed: bool) {
        self.remove(pod.uid());
        self.snapshot.anti_affine += usize::from(!pod.anti_affinity.is_empty());
        self.placed.insert(pod.uid().clone(), Placed { node: node.clone(), assumed });
        self.change(node, |info| info.add(pod));
    }

    /// A pod that the watch shows on a node. Also confirms what was assumed, wherever it was assumed.
    pub(crate) fn add(&mut self, pod: &Arc<Pod>) {
        self.place(Arc::new(PodInfo::new(pod.clone())), &pod.node_name, false);
    }

    /// A decision that is being bound.
    pub(crate) fn assume(&mut self, pod: &Arc<PodInfo>, node: &Arc<str>) {
        self.place(pod.clone(), node, true);
    }

    /// Binding failed. What the watch has confirmed meanwhile stays.
    pub(crate) fn forget(&mut self, uid: &str) {
        if self.placed.get(uid).is_some_and(|p| p.assumed) {
            self.remove(uid);
        }
    }

    /// A pod that is gone or has ended.
    pub(crate) fn remove(&mut self, uid: &str) {
        let Some(placed) = self.placed.remove(uid) else { return };
        let mut removed = None;
        self.change(&placed.node, |info| removed = info.remove(uid));
        self.snapshot.anti_affine -= usize::from(removed.is_some_and(|p| !p.anti_affinity.is_empty()));
    }

    /// Nodes, pods on them, and those of the pods that are being bound.
    pub(crate) fn sizes(&self) -> [usize; 3] {
        let assumed = self.placed.values().filter(|placed| placed.assumed).count();
        [self.snapshot.nodes.len(), self.placed.len(), assumed]
    }

    /// Is the pod counted on a node?
    pub(crate) fn is_placed(&self, uid: &str) -> bool {
        self.placed.contains_key(uid)
    }
}
