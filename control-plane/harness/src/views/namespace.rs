//! Namespace and the small kinds that live in each: ServiceAccount, ConfigMap, PersistentVolumeClaim.

use super::{View, null_default};
use crate::{IndexKey, Meta, Resource, api};
use serde::Deserialize;
use std::collections::BTreeMap;

/// core/v1 Namespace.
#[derive(Debug, Deserialize)]
pub struct Namespace {
    /// metadata
    pub metadata: Meta,
    /// spec.finalizers and nothing else.
    #[serde(default)]
    pub spec: NamespaceSpec,
    /// status
    #[serde(default)]
    pub status: NamespaceStatus,
}

/// core/v1 NamespaceSpec.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct NamespaceSpec {
    /// `kubernetes` stands for: its content is not deleted yet.
    #[serde(deserialize_with = "null_default")]
    pub finalizers: Vec<String>,
}

/// core/v1 NamespaceStatus.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct NamespaceStatus {
    /// Active or Terminating.
    pub phase: String,
}

impl View for Namespace {
    const RESOURCE: Resource = api::NAMESPACES;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// core/v1 ServiceAccount: that it exists.
#[derive(Debug, Deserialize)]
pub struct ServiceAccount {
    /// metadata
    pub metadata: Meta,
}

impl View for ServiceAccount {
    const RESOURCE: Resource = api::SERVICE_ACCOUNTS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// core/v1 ConfigMap, read singly; no component watches all of them.
#[derive(Debug, Deserialize)]
pub struct ConfigMap {
    /// metadata
    pub metadata: Meta,
    /// data
    #[serde(default, deserialize_with = "null_default")]
    pub data: BTreeMap<String, String>,
}

/// core/v1 PersistentVolumeClaim.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PersistentVolumeClaim {
    /// metadata
    pub metadata: Meta,
    /// spec
    #[serde(default)]
    pub spec: ClaimSpec,
    /// status
    #[serde(default)]
    pub status: ClaimStatus,
}

/// core/v1 PersistentVolumeClaimSpec.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimSpec {
    /// Empty text and absent differ: empty means "no class".
    pub storage_class_name: Option<String>,
    /// The volume it is bound to.
    pub volume_name: String,
}

/// core/v1 PersistentVolumeClaimStatus.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ClaimStatus {
    /// Pending, Bound or Lost.
    pub phase: String,
}

impl View for PersistentVolumeClaim {
    const RESOURCE: Resource = api::PERSISTENT_VOLUME_CLAIMS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn indexes(&self) -> Vec<IndexKey> {
        vec![IndexKey::Namespace(self.metadata.namespace.clone())]
    }
}
