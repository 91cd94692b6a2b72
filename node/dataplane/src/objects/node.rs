//! The node's own Node object: where it is, and whether it is about to go.

use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::resource;

/// `v1.Node`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct NodeObject {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: NodeSpec,
    #[serde(default)]
    status: NodeStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodeSpec {
    taints: Option<Vec<Taint>>,
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Taint {
    key: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodeStatus {
    conditions: Option<Vec<Condition>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

/// What is read of a Node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct NodeView {
    /// Its zone.
    pub(crate) zone: Option<Box<str>>,
    /// Load balancers may send new connections here.
    pub(crate) eligible: bool,
    /// May answer for load balancers' addresses: eligible, Ready, and not excluded.
    pub(crate) announces: bool,
    /// The ranges of its pods.
    pub(crate) pod_cidrs: Vec<IpNet>,
}

/// Label of a node that load balancers leave out (`v1.LabelNodeExcludeBalancers`).
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
/// Label of a node's zone (`v1.LabelTopologyZone`).
const ZONE: &str = "topology.kubernetes.io/zone";
/// Taint of a node that the cluster autoscaler is about to remove (KEP-3836).
const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";

/// No object yet: a node that starts is eligible, as for kube-proxy.
impl Default for NodeView {
    fn default() -> Self {
        Self { zone: None, eligible: true, announces: false, pod_cidrs: Vec::new() }
    }
}

impl NodeObject {
    pub(crate) fn project(&self) -> NodeView {
        let labels = self.metadata.labels.as_ref();
        let zone = labels.and_then(|labels| labels.get(ZONE)).filter(|zone| !zone.is_empty());
        let going = self.spec.taints.iter().flatten().any(|taint| taint.key == TO_BE_DELETED);
        let excluded = labels.is_some_and(|labels| labels.contains_key(EXCLUDED));
        let mut conditions = self.status.conditions.iter().flatten();
        let ready = conditions.any(|c| c.kind == "Ready" && c.status == "True");
        let eligible = !going && self.metadata.deletion_timestamp.is_none();
        let pod_cidrs = self.spec.pod_cidrs.iter().flatten().filter_map(|text| text.parse().ok());
        NodeView {
            pod_cidrs: pod_cidrs.collect(),
            zone: zone.map(|zone| zone.as_str().into()),
            eligible,
            announces: eligible && ready && !excluded,
        }
    }
}

resource!(NodeObject, ClusterResourceScope, "", "v1", "Node", "nodes");
