//! Pod: identity, placement and state. What a pod asks for is in `pod_spec.rs`, shared between the pods of one template.

use super::{PodSpec, View, null_default, owner_index, pod_spec::RawSpec};
use crate::{IndexKey, Meta, Resource, Timestamp, api};
use keelson_semantics::{
    ResourceList,
    resized::{Condition, ContainerGiven, PodGiven},
    resources::ResourceRequirements,
};
use serde::{Deserialize, Deserializer};
use std::{sync::Arc, time::Duration};

/// core/v1 Pod.
#[derive(Clone, Debug)]
pub struct Pod {
    /// metadata
    pub metadata: Meta,
    /// Where it runs; empty: not scheduled yet.
    pub node_name: Arc<str>,
    /// spec.hostname
    pub hostname: Option<Box<str>>,
    /// spec.subdomain
    pub subdomain: Option<Box<str>>,
    /// What it asks for.
    pub spec: Arc<PodSpec>,
    /// status
    pub status: PodStatus,
}

/// status.phase
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Phase {
    /// Not all containers were started.
    #[default]
    Pending,
    /// At least one runs.
    Running,
    /// All ended, with success.
    Succeeded,
    /// All ended, not all with success.
    Failed,
    /// The node did not say.
    #[serde(other)]
    Unknown,
}

/// core/v1 PodStatus, less what nobody reads.
#[derive(Clone, Debug, Default)]
pub struct PodStatus {
    /// status.phase
    pub phase: Phase,
    /// status.reason, for example Evicted.
    pub reason: Option<Box<str>>,
    /// Condition Ready.
    pub ready: Option<ConditionState>,
    /// Condition PodScheduled.
    pub scheduled: Option<ConditionState>,
    /// All addresses; the first is status.podIP.
    pub ips: Vec<Box<str>>,
    /// The largest restart count of its containers.
    pub restarts_max: i32,
    /// The preferred node of a preemption.
    pub nominated_node: Option<Box<str>>,
}

/// A condition of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionState {
    /// Is its status True?
    pub is_true: bool,
    /// When the status changed.
    pub since: Option<Timestamp>,
    /// reason
    pub reason: Box<str>,
    /// message
    pub message: Box<str>,
}

impl Pod {
    /// Succeeded or Failed: it will never run again.
    pub fn is_finished(&self) -> bool {
        matches!(self.status.phase, Phase::Succeeded | Phase::Failed)
    }

    /// Counts for a controller: not finished, not going away.
    pub fn is_active(&self) -> bool {
        !self.is_finished() && !self.metadata.is_deleting()
    }

    /// Condition Ready is True.
    pub fn is_ready(&self) -> bool {
        self.status.ready.as_ref().is_some_and(|c| c.is_true)
    }

    /// Has it been ready for at least `min_ready`?
    pub fn availability(&self, min_ready: Duration, now: Timestamp) -> Availability {
        let Some(ready) = self.status.ready.as_ref().filter(|c| c.is_true) else { return Availability::No };
        if min_ready.is_zero() {
            return Availability::Yes;
        }
        match ready.since.map(|since| since.after(min_ready)) {
            Some(at) if at <= now => Availability::Yes,
            Some(at) => Availability::In(at.since(now)),
            None => Availability::No,
        }
    }
}

/// Does a pod count as available?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// Ready long enough.
    Yes,
    /// Ready; long enough after this time, if it stays so.
    In(Duration),
    /// Not ready.
    No,
}

#[derive(Deserialize)]
struct RawPod {
    metadata: Meta,
    #[serde(default)]
    spec: RawSpec,
    #[serde(default)]
    status: RawStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawStatus {
    phase: Phase,
    reason: Option<Box<str>>,
    #[serde(deserialize_with = "null_default")]
    conditions: Vec<RawCondition>,
    #[serde(rename = "podIP")]
    pod_ip: Option<Box<str>>,
    #[serde(rename = "podIPs", deserialize_with = "null_default")]
    pod_ips: Vec<PodIp>,
    #[serde(deserialize_with = "null_default")]
    container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "null_default")]
    init_container_statuses: Vec<ContainerStatus>,
    nominated_node_name: Option<Box<str>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawCondition {
    r#type: String,
    status: String,
    last_transition_time: Option<Timestamp>,
    reason: Box<str>,
    message: Box<str>,
}

#[derive(Deserialize)]
struct PodIp {
    #[serde(default)]
    ip: Box<str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerStatus {
    #[serde(default)]
    restart_count: i32,
    #[serde(default)]
    name: String,
    allocated_resources: Option<ResourceList>,
    resources: Option<ResourceRequirements>,
}

impl RawStatus {
    /// What the node has given to the pod, as far as it says.
    fn given(&mut self) -> PodGiven {
        let given = |one: &mut ContainerStatus| ContainerGiven {
            name: std::mem::take(&mut one.name),
            allocated_resources: one.allocated_resources.take(),
            resources: one.resources.take(),
        };
        let conditions = self.conditions.iter();
        PodGiven {
            container_statuses: self.container_statuses.iter_mut().map(given).collect(),
            init_container_statuses: self.init_container_statuses.iter_mut().map(given).collect(),
            conditions: conditions
                .map(|one| Condition { r#type: one.r#type.clone(), reason: one.reason.to_string() })
                .collect(),
        }
    }
}

impl<'de> Deserialize<'de> for Pod {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let RawPod { metadata, mut spec, mut status } = RawPod::deserialize(d)?;
        let node_name = spec.node_name.take().unwrap_or_default().as_ref().into();
        let (hostname, subdomain) = (spec.hostname.take(), spec.subdomain.take());
        let spec = Arc::new(spec.resolve(&status.given()));
        Ok(Pod { metadata, node_name, hostname, subdomain, spec, status: status.into() })
    }
}

impl From<RawStatus> for PodStatus {
    fn from(raw: RawStatus) -> Self {
        let condition = |kind: &str| {
            raw.conditions.iter().find(|c| c.r#type == kind).map(|c| ConditionState {
                is_true: c.status == "True",
                since: c.last_transition_time,
                reason: c.reason.clone(),
                message: c.message.clone(),
            })
        };
        let (ready, scheduled) = (condition("Ready"), condition("PodScheduled"));
        let mut ips: Vec<Box<str>> = raw.pod_ips.into_iter().map(|p| p.ip).collect();
        if ips.is_empty() {
            ips.extend(raw.pod_ip);
        }
        PodStatus {
            phase: raw.phase,
            reason: raw.reason,
            ready,
            scheduled,
            ips,
            restarts_max: raw.container_statuses.iter().map(|c| c.restart_count).max().unwrap_or(0),
            nominated_node: raw.nominated_node_name.filter(|n| !n.is_empty()),
        }
    }
}

impl View for Pod {
    const RESOURCE: Resource = api::PODS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn indexes(&self) -> Vec<IndexKey> {
        let mut keys =
            vec![IndexKey::Namespace(self.metadata.namespace.clone()), owner_index(&self.metadata)];
        if !self.node_name.is_empty() {
            keys.push(IndexKey::Node(self.node_name.clone()));
        }
        keys
    }

    fn share(&mut self, other: &Self) {
        self.metadata.share(&other.metadata);
        if self.spec == other.spec {
            self.spec = other.spec.clone();
        }
        if self.node_name == other.node_name {
            self.node_name = other.node_name.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(json: serde_json::Value) -> Pod {
        serde_json::from_str(&json.to_string()).unwrap()
    }

    #[test]
    fn a_pod_is_read_with_nulls_and_unknown_fields() {
        let pod = pod(serde_json::json!({
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "labels": null, "creationTimestamp": null},
            "spec": {"nodeName": "w1", "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}},
                     "ports": [{"containerPort": 80, "name": "http", "hostPort": 8080}]}],
                     "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}, {"name": "e", "emptyDir": {}}]},
            "status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
        }));
        assert_eq!(&*pod.node_name, "w1");
        assert!(pod.is_ready() && pod.is_active());
        assert_eq!(pod.status.ips, ["10.0.0.1".into()]);
        assert_eq!(pod.spec.claims, ["data"]);
        assert_eq!(pod.spec.ports[0].host_port, 8080);
        assert_eq!(pod.spec.requests["cpu"].milli_value(), 1000);
        assert_eq!(pod.spec.non_zero.milli_cpu, 1000);
        assert_eq!(pod.spec.non_zero.memory_bytes, 200 << 20);
    }

    #[test]
    fn a_pod_that_is_resized_counts_with_the_most_that_it_has_or_asks_for() {
        let resized = |asked: &str, has: &str, reason: &str| {
            let amounts = |cpu: &str| serde_json::json!({"requests": {"cpu": cpu}});
            let pod = pod(serde_json::json!({
                "metadata": {"name": "a"},
                "spec": {"containers": [{"name": "c", "resources": amounts(asked)}]},
                "status": {
                    "containerStatuses": [{"name": "c", "resources": amounts(has), "allocatedResources": {"cpu": has}}],
                    "conditions": [{"type": "PodResizePending", "status": "True", "reason": reason}],
                },
            }));
            (pod.spec.requests["cpu"].milli_value(), pod.spec.non_zero.milli_cpu)
        };
        assert_eq!(resized("2", "1", "Deferred"), (2000, 2000));
        assert_eq!(resized("1", "2", ""), (2000, 2000));
        assert_eq!(resized("9", "2", "Infeasible"), (2000, 2000));
    }

    #[test]
    fn availability_waits_for_min_ready() {
        let at = |s| Timestamp::from_unix(s);
        let mut p = pod(serde_json::json!({"metadata": {"name": "a"}}));
        let ten = Duration::from_secs(10);
        assert_eq!(p.availability(ten, at(100)), Availability::No);
        let ready =
            ConditionState { is_true: true, since: Some(at(95)), reason: "".into(), message: "".into() };
        p.status.ready = Some(ready);
        assert_eq!(p.availability(Duration::ZERO, at(95)), Availability::Yes);
        assert_eq!(p.availability(ten, at(100)), Availability::In(Duration::from_secs(5)));
        assert_eq!(p.availability(ten, at(105)), Availability::Yes);
    }
}
