//! The cluster at one moment: immutable, a few pointers to copy.

use super::NodeInfo;
use imbl::{HashMap, OrdMap};
use std::{collections::BTreeMap, sync::Arc};

/// What one scheduling decision is based on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// Nodes that exist, by name.
    pub(crate) nodes: OrdMap<Arc<str>, Arc<NodeInfo>>,
    /// Labels of namespaces.
    pub(crate) namespaces: HashMap<Arc<str>, Arc<BTreeMap<String, String>>>,
    /// Pods on nodes that have required anti-affinity; while it is zero nobody looks for them.
    pub(crate) anti_affine: usize,
}

impl Snapshot {
    pub(crate) fn namespace_labels(&self, namespace: &str) -> Option<&BTreeMap<String, String>> {
        self.namespaces.get(namespace).map(|l| &**l)
    }
}
