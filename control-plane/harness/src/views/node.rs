//! Node and the Lease by which it shows that it lives.

use super::{View, null_default};
use crate::{Meta, Resource, Timestamp, api};
use keelson_semantics::{ResourceList, Taint};
use serde::Deserialize;

/// core/v1 Node.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Node {
    /// metadata
    pub metadata: Meta,
    /// spec
    #[serde(default)]
    pub spec: NodeSpec,
    /// status
    #[serde(default)]
    pub status: NodeStatus,
}

/// core/v1 NodeSpec.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSpec {
    /// Cordoned.
    pub unschedulable: bool,
    /// Ranges of its pods' addresses, one a family.
    #[serde(rename = "podCIDRs", deserialize_with = "null_default")]
    pub pod_cidrs: Vec<Box<str>>,
    /// taints
    #[serde(deserialize_with = "null_default")]
    pub taints: Vec<Taint>,
}

/// core/v1 NodeStatus.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeStatus {
    /// What pods may use.
    #[serde(deserialize_with = "null_default")]
    pub allocatable: ResourceList,
    /// conditions
    #[serde(deserialize_with = "null_default")]
    pub conditions: Vec<NodeCondition>,
}

/// core/v1 NodeCondition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeCondition {
    /// For example Ready.
    pub r#type: String,
    /// True, False or Unknown.
    pub status: String,
    /// When the node wrote it last.
    pub last_heartbeat_time: Option<Timestamp>,
}

impl Node {
    /// The status of a condition: True, False or Unknown; `None` if it was never written.
    pub fn condition(&self, kind: &str) -> Option<&str> {
        self.status.conditions.iter().find(|c| c.r#type == kind).map(|c| &*c.status)
    }

    /// Is its condition Ready true?
    pub fn is_ready(&self) -> bool {
        self.condition("Ready") == Some("True")
    }
}

impl View for Node {
    const RESOURCE: Resource = api::NODES;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// coordination/v1 Lease.
#[derive(Clone, Debug, Deserialize)]
pub struct Lease {
    /// metadata
    pub metadata: Meta,
    /// spec
    #[serde(default)]
    pub spec: LeaseSpec,
}

/// coordination/v1 LeaseSpec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LeaseSpec {
    /// Who holds it; absent or empty: nobody.
    pub holder_identity: Option<String>,
    /// When it was renewed, by the holder's clock.
    pub renew_time: Option<Timestamp>,
    /// How often the holder changed.
    pub lease_transitions: i64,
}

impl View for Lease {
    const RESOURCE: Resource = api::LEASES;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}
