//! ResourceQuota: what it bounds. Its status is read singly, by whoever writes it.

use super::{View, null_default};
use crate::{IndexKey, Meta, Resource, api};
use serde::Deserialize;
use std::collections::BTreeMap;

/// core/v1 ResourceQuota.
#[derive(Debug, Deserialize)]
pub struct ResourceQuota {
    /// metadata
    pub metadata: Meta,
    /// spec
    #[serde(default)]
    pub spec: QuotaSpec,
}

/// core/v1 ResourceQuotaSpec, less its scopes, which never change.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct QuotaSpec {
    /// The most of each, by name.
    #[serde(deserialize_with = "null_default")]
    pub hard: BTreeMap<Box<str>, Box<str>>,
}

impl View for ResourceQuota {
    const RESOURCE: Resource = api::RESOURCE_QUOTAS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn indexes(&self) -> Vec<IndexKey> {
        vec![IndexKey::Namespace(self.metadata.namespace.clone())]
    }
}
