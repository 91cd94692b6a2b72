//! Deployment, ReplicaSet and ReplicationController. Pod templates stay text: controllers compare and copy them, they do not look inside.

use super::pod_spec::Selector;
use super::{View, null_default, owner_index};
use crate::{IndexKey, Meta, Resource, Timestamp, api};
use keelson_semantics::label_selector::LabelSelectorSpec;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use std::{collections::BTreeMap, sync::Arc};

/// apps/v1 Deployment.
#[derive(Clone, Debug, Deserialize)]
pub struct Deployment {
    /// metadata
    pub metadata: Meta,
    /// spec
    pub spec: DeploymentSpec,
    /// status
    #[serde(default)]
    pub status: DeploymentStatus,
}

/// apps/v1 DeploymentSpec.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentSpec {
    /// Pods wanted.
    #[serde(default = "one")]
    pub replicas: i32,
    /// Which pods are its own.
    pub selector: Selector,
    /// The pod template, canonical JSON.
    pub template: Arc<RawValue>,
    /// How pods are replaced.
    #[serde(default)]
    pub strategy: Strategy,
    /// Seconds without a crash until a ready pod counts as available.
    #[serde(default)]
    pub min_ready_seconds: i32,
    /// Old ReplicaSets kept for rollback.
    #[serde(default)]
    pub revision_history_limit: Option<i32>,
    /// No rollout while set.
    #[serde(default)]
    pub paused: bool,
    /// Seconds without progress until the rollout is reported as failed.
    #[serde(default)]
    pub progress_deadline_seconds: Option<i32>,
}

fn one() -> i32 {
    1
}

/// apps/v1 DeploymentStrategy.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Strategy {
    /// `RollingUpdate` (also when empty) or `Recreate`.
    pub r#type: String,
    /// Bounds of a rolling update.
    pub rolling_update: Option<RollingUpdate>,
}

/// apps/v1 RollingUpdateDeployment: numbers, or texts like "25%"; `null` means 25%.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RollingUpdate {
    /// Pods above `replicas`.
    pub max_surge: Value,
    /// Pods below `replicas`.
    pub max_unavailable: Value,
}

/// apps/v1 DeploymentStatus.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentStatus {
    /// The generation that this status speaks of.
    pub observed_generation: i64,
    /// Pods, of any template.
    pub replicas: i32,
    /// Pods of the current template.
    pub updated_replicas: i32,
    /// Ready pods.
    pub ready_replicas: i32,
    /// Ready for minReadySeconds.
    pub available_replicas: i32,
    /// Missing for full capacity.
    pub unavailable_replicas: i32,
    /// Pods that are going away.
    pub terminating_replicas: Option<i32>,
    /// Available, Progressing, ReplicaFailure.
    #[serde(deserialize_with = "null_default")]
    pub conditions: Vec<Condition>,
    /// Times that the name of a new ReplicaSet was taken.
    pub collision_count: Option<i32>,
}

/// A condition of a Deployment or ReplicaSet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// For example Available.
    pub r#type: String,
    /// True, False or Unknown.
    pub status: String,
    /// UpperCamelCase.
    pub reason: String,
    /// For people.
    pub message: String,
    /// When anything of it changed (Deployments only).
    pub last_update_time: Option<Timestamp>,
    /// When its status changed.
    pub last_transition_time: Option<Timestamp>,
}

impl View for Deployment {
    const RESOURCE: Resource = api::DEPLOYMENTS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn indexes(&self) -> Vec<IndexKey> {
        vec![IndexKey::Namespace(self.metadata.namespace.clone())]
    }

    fn share(&mut self, other: &Self) {
        share_template(&mut self.spec.template, &other.spec.template);
    }
}

/// apps/v1 ReplicaSet.
#[derive(Clone, Debug, Deserialize)]
pub struct ReplicaSet {
    /// metadata
    pub metadata: Meta,
    /// spec
    pub spec: ReplicaSetSpec,
    /// status
    #[serde(default)]
    pub status: ReplicaSetStatus,
}

/// apps/v1 ReplicaSetSpec.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaSetSpec {
    /// Pods wanted.
    #[serde(default = "one")]
    pub replicas: i32,
    /// Which pods are its own.
    pub selector: Selector,
    /// The pod template, canonical JSON.
    #[serde(default = "empty_template")]
    pub template: Arc<RawValue>,
    /// Seconds without a crash until a ready pod counts as available.
    #[serde(default)]
    pub min_ready_seconds: i32,
}

fn empty_template() -> Arc<RawValue> {
    RawValue::from_string("{}".to_owned()).expect("an empty object is JSON").into()
}

/// apps/v1 ReplicaSetStatus.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaSetStatus {
    /// Pods that are not going away.
    pub replicas: i32,
    /// Pods that carry all labels of the template.
    pub fully_labeled_replicas: i32,
    /// Ready pods.
    pub ready_replicas: i32,
    /// Ready for minReadySeconds.
    pub available_replicas: i32,
    /// Pods that are going away.
    pub terminating_replicas: Option<i32>,
    /// The generation that this status speaks of.
    pub observed_generation: i64,
    /// ReplicaFailure.
    #[serde(deserialize_with = "null_default")]
    pub conditions: Vec<Condition>,
}

impl View for ReplicaSet {
    const RESOURCE: Resource = api::REPLICA_SETS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn indexes(&self) -> Vec<IndexKey> {
        vec![IndexKey::Namespace(self.metadata.namespace.clone()), owner_index(&self.metadata)]
    }

    fn share(&mut self, other: &Self) {
        share_template(&mut self.spec.template, &other.spec.template);
    }
}

/// core/v1 ReplicationController: a ReplicaSet whose selector is a map of labels.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "ReplicationControllerForm")]
pub struct ReplicationController(pub ReplicaSet);

#[derive(Deserialize)]
struct ReplicationControllerForm {
    metadata: Meta,
    spec: ReplicationControllerSpec,
    #[serde(default)]
    status: ReplicaSetStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReplicationControllerSpec {
    #[serde(default = "one")]
    replicas: i32,
    #[serde(default, deserialize_with = "null_default")]
    selector: BTreeMap<String, String>,
    #[serde(default = "empty_template")]
    template: Arc<RawValue>,
    #[serde(default)]
    min_ready_seconds: i32,
}

impl From<ReplicationControllerForm> for ReplicationController {
    fn from(form: ReplicationControllerForm) -> Self {
        let ReplicationControllerSpec { replicas, selector, template, min_ready_seconds } = form.spec;
        let selector = Selector::new(LabelSelectorSpec { match_labels: selector, ..Default::default() });
        let spec = ReplicaSetSpec { replicas, selector, template, min_ready_seconds };
        Self(ReplicaSet { metadata: form.metadata, spec, status: form.status })
    }
}

impl View for ReplicationController {
    const RESOURCE: Resource = api::REPLICATION_CONTROLLERS;

    fn meta(&self) -> &Meta {
        self.0.meta()
    }

    fn indexes(&self) -> Vec<IndexKey> {
        self.0.indexes()
    }

    fn share(&mut self, other: &Self) {
        self.0.share(&other.0);
    }
}

fn share_template(own: &mut Arc<RawValue>, other: &Arc<RawValue>) {
    if own.get() == other.get() {
        *own = other.clone();
    }
}
