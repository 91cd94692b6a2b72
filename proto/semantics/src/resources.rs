//! What a pod asks of a node: the effective requests and limits, and the quality-of-service class.
//!
//! Rules: "Resource Management for Pods and Containers", "Sidecar Containers" and "Pod Quality of Service Classes" in
//! the Kubernetes documentation. Reads a projection of the PodSpec and nothing else of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Quantity;

/// Amounts by resource name.
pub type ResourceList = BTreeMap<String, Quantity>;

/// The part of a PodSpec that says what the pod needs. Unknown fields are skipped, so a whole spec can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodResources {
    /// The main containers.
    pub containers: Vec<ContainerResources>,
    /// Those that run before, and sidecars.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub init_containers: Vec<ContainerResources>,
    /// Of the RuntimeClass.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub overhead: ResourceList,
    /// For the pod as a whole; wins over the sum of the containers for cpu, memory and huge pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
}

/// The part of a Container that says what it needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerResources {
    /// Name in the pod.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// `Always` makes an init container a sidecar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<String>,
    /// What it asks for.
    pub resources: ResourceRequirements,
}

/// Requests and limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourceRequirements {
    /// The most it may use.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: ResourceList,
    /// What is set aside for it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: ResourceList,
}

/// Which pods suffer first when a node runs short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QosClass {
    /// Every container has equal cpu and memory requests and limits.
    Guaranteed,
    /// Something in between.
    Burstable,
    /// No cpu or memory request or limit at all.
    BestEffort,
}

impl QosClass {
    /// The text of `status.qosClass`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            QosClass::Guaranteed => "Guaranteed",
            QosClass::Burstable => "Burstable",
            QosClass::BestEffort => "BestEffort",
        }
    }
}

#[derive(Clone, Copy)]
enum Side {
    Requests,
    Limits,
}

impl PodResources {
    /// What the scheduler sets aside, overhead included.
    #[must_use]
    pub fn requests(&self) -> ResourceList {
        let mut total = self.aggregate(Side::Requests);
        self.override_by_pod(&mut total, Side::Requests);
        add(&mut total, &self.overhead);
        total
    }

    /// The limits of the pod as a whole; overhead is added to those that are there.
    #[must_use]
    pub fn limits(&self) -> ResourceList {
        let mut total = self.aggregate(Side::Limits);
        self.override_by_pod(&mut total, Side::Limits);
        for (name, amount) in &self.overhead {
            if let Some(limit) = total.get_mut(name) {
                *limit += *amount;
            }
        }
        total
    }

    /// Main containers and sidecars together, or the init container that needs more at its time.
    fn aggregate(&self, side: Side) -> ResourceList {
        let mut running = ResourceList::new();
        let mut init_peak = ResourceList::new();
        let mut sidecars = ResourceList::new();
        for container in &self.containers {
            add(&mut running, container.amounts(side));
        }
        for container in &self.init_containers {
            if container.is_sidecar() {
                add(&mut running, container.amounts(side));
                add(&mut sidecars, container.amounts(side));
                raise(&mut init_peak, &sidecars);
            } else {
                let mut at_its_time = container.amounts(side).clone();
                add(&mut at_its_time, &sidecars);
                raise(&mut init_peak, &at_its_time);
            }
        }
        raise(&mut running, &init_peak);
        running
    }

    fn override_by_pod(&self, total: &mut ResourceList, side: Side) {
        let Some(resources) = &self.resources else { return };
        for (name, amount) in resources.amounts(side) {
            if is_pod_level(name) {
                total.insert(name.clone(), *amount);
            }
        }
    }

    /// Computed from cpu and memory of all containers, or of the pod-level resources where they are given.
    #[must_use]
    pub fn qos_class(&self) -> QosClass {
        if let Some(resources) = &self.resources {
            return qos_of(std::iter::once(resources));
        }
        qos_of(self.containers.iter().chain(&self.init_containers).map(|c| &c.resources))
    }
}

/// Resources that may be given for the pod as a whole.
fn is_pod_level(name: &str) -> bool {
    name == "cpu" || name == "memory" || name.starts_with("hugepages-")
}

fn qos_of<'a>(all: impl Iterator<Item = &'a ResourceRequirements>) -> QosClass {
    let positive = |list: &ResourceList, name: &str| list.get(name).copied().filter(|q| *q > Quantity::ZERO);
    let (mut guaranteed, mut best_effort) = (true, true);
    for resources in all {
        for name in ["cpu", "memory"] {
            let (request, limit) = (positive(&resources.requests, name), positive(&resources.limits, name));
            best_effort &= request.is_none() && limit.is_none();
            guaranteed &= limit.is_some() && request.is_none_or(|r| Some(r) == limit);
        }
    }
    match (best_effort, guaranteed) {
        (true, _) => QosClass::BestEffort,
        (false, true) => QosClass::Guaranteed,
        (false, false) => QosClass::Burstable,
    }
}

impl ContainerResources {
    pub(crate) fn is_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }

    fn amounts(&self, side: Side) -> &ResourceList {
        self.resources.amounts(side)
    }
}

impl ResourceRequirements {
    fn amounts(&self, side: Side) -> &ResourceList {
        match side {
            Side::Requests => &self.requests,
            Side::Limits => &self.limits,
        }
    }
}

/// `total += amounts`, name by name.
pub fn add(total: &mut ResourceList, amounts: &ResourceList) {
    for (name, amount) in amounts {
        *total.entry(name.clone()).or_default() += *amount;
    }
}

/// `total = max(total, amounts)`, name by name.
pub fn raise(total: &mut ResourceList, amounts: &ResourceList) {
    for (name, amount) in amounts {
        let have = total.entry(name.clone()).or_insert(*amount);
        *have = (*have).max(*amount);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(spec: serde_json::Value) -> PodResources {
        serde_json::from_value(spec).expect("a spec of the table")
    }

    fn cpu(list: &ResourceList) -> String {
        list.get("cpu").map(ToString::to_string).unwrap_or_default()
    }

    fn container(cpu: &str) -> serde_json::Value {
        json!({"name": "c", "resources": {"requests": {"cpu": cpu}}})
    }

    fn sidecar(cpu: &str) -> serde_json::Value {
        json!({"restartPolicy": "Always", "resources": {"requests": {"cpu": cpu}}})
    }

    #[test]
    fn requests_follow_the_documented_sums() {
        for (name, spec, expected) in [
            ("sum of containers", json!({"containers": [container("1"), container("500m")]}), "1500m"),
            (
                "init peak wins",
                json!({"containers": [container("1")], "initContainers": [container("2")]}),
                "2",
            ),
            (
                "init peak loses",
                json!({"containers": [container("3")], "initContainers": [container("2")]}),
                "3",
            ),
            (
                "sidecars run along",
                json!({"containers": [container("1")], "initContainers": [sidecar("1")]}),
                "2",
            ),
            (
                "an init container runs beside earlier sidecars",
                json!({"containers": [container("1")], "initContainers": [sidecar("1"), container("5")]}),
                "6",
            ),
            (
                "and not beside later ones",
                json!({"containers": [container("1")], "initContainers": [container("5"), sidecar("1")]}),
                "5",
            ),
            ("overhead", json!({"containers": [container("1")], "overhead": {"cpu": "100m"}}), "1100m"),
            (
                "the pod's own request wins",
                json!({"containers": [container("1")], "resources": {"requests": {"cpu": "4"}}}),
                "4",
            ),
        ] {
            assert_eq!(cpu(&pod(spec).requests()), expected, "{name}");
        }
    }

    #[test]
    fn quality_follows_requests_and_limits() {
        let both = json!({"cpu": "1", "memory": "1Gi"});
        for (resources, expected) in [
            (json!({}), QosClass::BestEffort),
            (json!({"requests": {"example.com/gpu": "1"}}), QosClass::BestEffort),
            (json!({"limits": both}), QosClass::Guaranteed),
            (json!({"limits": both, "requests": both}), QosClass::Guaranteed),
            (json!({"limits": both, "requests": {"cpu": "500m", "memory": "1Gi"}}), QosClass::Burstable),
            (json!({"requests": both}), QosClass::Burstable),
            (json!({"limits": {"cpu": "1"}}), QosClass::Burstable),
        ] {
            let spec = pod(json!({"containers": [{"resources": resources}]}));
            assert_eq!(spec.qos_class(), expected, "{spec:?}");
        }
        let mixed = json!({"containers": [{"resources": {"limits": both}}, {}]});
        assert_eq!(pod(mixed).qos_class(), QosClass::Burstable);
    }
}
