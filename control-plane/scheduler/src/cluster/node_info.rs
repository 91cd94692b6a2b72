//! A node with what the pods on it use. Immutable once in a snapshot; changed by copy.

use super::{Amounts, HostPort, PodInfo};
use imbl::OrdMap;
use keelson_harness::views::{Node, NonZero};
use std::{collections::HashMap, sync::Arc};

/// One node.
#[derive(Clone, Debug)]
pub(crate) struct NodeInfo {
    /// `None`: pods name a node that is not known (yet). Nothing is scheduled to it.
    pub(crate) node: Option<Arc<Node>>,
    pub(crate) allocatable: Arc<Amounts>,
    pub(crate) requested: Amounts,
    pub(crate) non_zero: NonZero,
    pub(crate) host_ports: Vec<HostPort>,
    /// By uid.
    pub(crate) pods: OrdMap<Arc<str>, Arc<PodInfo>>,
    /// Pods by the uid of their controller.
    pub(crate) siblings: HashMap<Arc<str>, u32>,
}

impl NodeInfo {
    pub(crate) fn empty() -> Self {
        NodeInfo {
            node: None,
            allocatable: Arc::default(),
            requested: Amounts::default(),
            non_zero: NonZero::default(),
            host_ports: Vec::new(),
            pods: OrdMap::new(),
            siblings: HashMap::new(),
        }
    }

    pub(crate) fn set_node(&mut self, node: Option<Arc<Node>>) {
        self.allocatable =
            Arc::new(node.as_ref().map(|n| Amounts::new(&n.status.allocatable)).unwrap_or_default());
        self.node = node;
    }

    pub(crate) fn add(&mut self, pod: Arc<PodInfo>) {
        self.remove(&pod.uid().clone());
        self.requested.add(&pod.requests);
        self.non_zero.milli_cpu += pod.pod.spec.non_zero.milli_cpu;
        self.non_zero.memory_bytes += pod.pod.spec.non_zero.memory_bytes;
        self.host_ports.extend(pod.host_ports.iter().cloned());
        if let Some(controller) = pod.controller() {
            *self.siblings.entry(controller.clone()).or_default() += 1;
        }
        self.pods.insert(pod.uid().clone(), pod);
    }

    pub(crate) fn remove(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let pod = self.pods.remove(uid)?;
        self.requested.subtract(&pod.requests);
        self.non_zero.milli_cpu -= pod.pod.spec.non_zero.milli_cpu;
        self.non_zero.memory_bytes -= pod.pod.spec.non_zero.memory_bytes;
        for port in &pod.host_ports {
            if let Some(at) = self.host_ports.iter().position(|p| p == port) {
                self.host_ports.swap_remove(at);
            }
        }
        if let Some(controller) = pod.controller()
            && let Some(count) = self.siblings.get_mut(controller)
        {
            *count -= 1;
            if *count == 0 {
                self.siblings.remove(controller);
            }
        }
        Some(pod)
    }

    /// The node's label.
    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.node.as_ref()?.metadata.labels.get(key).map(String::as_str)
    }
}
