//! The part of ObjectMeta that components read. Does not own writing metadata: that is done by patches.

use crate::{Timestamp, api::Resource, views::null_default};
use serde::{Deserialize, Deserializer, Serialize};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// Namespace (empty for cluster-scoped kinds) and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Empty for cluster-scoped kinds.
    pub namespace: Arc<str>,
    /// metadata.name
    pub name: Arc<str>,
}

impl ObjectKey {
    /// The key of a namespaced object.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The namespace, or `None` for a cluster-scoped object.
    pub fn ns(&self) -> Option<&str> {
        (!self.namespace.is_empty()).then_some(&*self.namespace)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ns() {
            Some(ns) => write!(f, "{ns}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Labels or annotations. Behind an Arc: siblings of one controller mostly share theirs.
pub type StringMap = Arc<BTreeMap<String, String>>;

/// metav1.ObjectMeta, less managedFields, the last applied configuration, and what nobody reads.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// Empty for cluster-scoped kinds.
    pub namespace: Arc<str>,
    /// metadata.name
    pub name: Arc<str>,
    /// metadata.uid
    pub uid: Arc<str>,
    /// Opaque; sent back as a precondition.
    pub resource_version: Box<str>,
    /// Counts changes of the spec.
    pub generation: i64,
    /// When the server made it.
    pub creation_timestamp: Option<Timestamp>,
    /// Set: the object is going away.
    pub deletion_timestamp: Option<Timestamp>,
    /// Seconds that the deletion allows.
    pub deletion_grace_period_seconds: Option<i64>,
    /// metadata.labels
    #[serde(deserialize_with = "null_default")]
    pub labels: StringMap,
    /// metadata.annotations, less `kubectl.kubernetes.io/last-applied-configuration` (as large as the object).
    #[serde(deserialize_with = "annotations")]
    pub annotations: StringMap,
    /// metadata.ownerReferences
    #[serde(deserialize_with = "null_default")]
    pub owner_references: Vec<OwnerReference>,
    /// metadata.finalizers
    #[serde(deserialize_with = "null_default")]
    pub finalizers: Vec<Box<str>>,
}

/// What client-side apply remembers; read by kubectl alone.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

fn annotations<'de, D: Deserializer<'de>>(d: D) -> Result<StringMap, D::Error> {
    let mut all = Option::<BTreeMap<String, String>>::deserialize(d)?.unwrap_or_default();
    all.remove(LAST_APPLIED);
    Ok(Arc::new(all))
}

impl Meta {
    /// Namespace and name; cheap.
    pub fn key(&self) -> ObjectKey {
        ObjectKey { namespace: self.namespace.clone(), name: self.name.clone() }
    }

    /// The owner with `controller: true`, of which there is at most one.
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|o| o.controller)
    }

    /// Is it controlled by the object with this uid?
    pub fn is_controlled_by(&self, uid: &str) -> bool {
        self.controller().is_some_and(|o| &*o.uid == uid)
    }

    /// Is it going away?
    pub fn is_deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    /// An annotation's value.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(name).map(String::as_str)
    }

    /// Has it this finalizer?
    pub fn has_finalizer(&self, name: &str) -> bool {
        self.finalizers.iter().any(|f| &**f == name)
    }

    /// Shares maps that equal those of `other`, so that siblings cost their differences alone.
    pub fn share(&mut self, other: &Meta) {
        if self.labels == other.labels {
            self.labels = other.labels.clone();
        }
        if self.annotations == other.annotations {
            self.annotations = other.annotations.clone();
        }
        if self.namespace == other.namespace {
            self.namespace = other.namespace.clone();
        }
    }
}

/// metav1.OwnerReference.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerReference {
    /// `group/version`, or `v1`.
    pub api_version: Arc<str>,
    /// Kind, as in the manifest.
    pub kind: Arc<str>,
    /// Name, in the namespace of the dependent or cluster-scoped.
    pub name: Arc<str>,
    /// The owner is this one object, not a later one of the same name.
    pub uid: Arc<str>,
    /// The managing owner; at most one.
    #[serde(default)]
    pub controller: bool,
    /// The owner's foreground deletion waits for the dependent.
    #[serde(default)]
    pub block_owner_deletion: bool,
}

impl OwnerReference {
    /// A controller's reference, as all built-in controllers write it.
    pub fn controller_of(resource: &Resource, owner: &Meta) -> Self {
        Self {
            api_version: resource.api_version().into(),
            kind: (&*resource.kind).into(),
            name: owner.name.clone(),
            uid: owner.uid.clone(),
            controller: true,
            block_owner_deletion: true,
        }
    }

    /// The API group of the owner; empty for core.
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }
}
