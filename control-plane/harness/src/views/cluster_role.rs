//! ClusterRole, as the aggregation controller reads it.

use super::pod_spec::Selector;
use super::{View, null_default};
use crate::{Meta, Resource, api::CLUSTER_ROLES};
use serde::Deserialize;
use serde_json::value::RawValue;

/// rbac/v1 ClusterRole.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRole {
    /// metadata
    pub metadata: Meta,
    /// Set: its rules are the union of those of the roles that are selected.
    #[serde(default)]
    pub aggregation_rule: Option<AggregationRule>,
    /// The rules, as text: they are only compared and joined.
    #[serde(default, deserialize_with = "null_default")]
    pub rules: Vec<Box<RawValue>>,
}

/// rbac/v1 AggregationRule.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AggregationRule {
    /// A role that any of these selects is taken in.
    #[serde(default, deserialize_with = "null_default")]
    pub cluster_role_selectors: Vec<Selector>,
}

impl View for ClusterRole {
    const RESOURCE: Resource = CLUSTER_ROLES;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}
