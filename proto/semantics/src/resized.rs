//! What a pod counts for while it is being resized: the most of what its spec asks for, what its node has given it and what
//! its containers have, so that nobody gives away what is still in use. A resize that can never be done counts for nothing.
//!
//! Rules: KEP-1287, "Scheduler and API Server Interaction"; upstream's `PodRequests` with `UseStatusResources`.

use serde::Deserialize;

use crate::PodResources;
use crate::resources::{ContainerResources, ResourceList, ResourceRequirements, raise};

/// The part of a PodStatus that says what its containers have. A whole status can be read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodGiven {
    /// Of the main containers.
    pub container_statuses: Vec<ContainerGiven>,
    /// Of those that run before, and sidecars.
    pub init_container_statuses: Vec<ContainerGiven>,
    /// All conditions; one of them says that a resize cannot be done.
    pub conditions: Vec<Condition>,
}

/// The part of a ContainerStatus that says what the container has.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerGiven {
    /// Name in the spec.
    pub name: String,
    /// Requests that the node has accepted.
    pub allocated_resources: Option<ResourceList>,
    /// What its cgroup has; None where it has not run yet, or the node does not say.
    pub resources: Option<ResourceRequirements>,
}

/// The part of a PodCondition that says why a resize waits.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Condition {
    /// `PodResizePending` is looked at.
    pub r#type: String,
    /// `Infeasible` is looked at.
    pub reason: String,
}

impl PodGiven {
    /// Makes of what the spec asks for what the pod counts for.
    pub fn count_in(&self, asked: &mut PodResources) {
        let infeasible =
            self.conditions.iter().any(|one| one.r#type == "PodResizePending" && one.reason == "Infeasible");
        let lists = [
            (&mut asked.containers, &self.container_statuses),
            (&mut asked.init_containers, &self.init_container_statuses),
        ];
        for (index, (containers, given)) in lists.into_iter().enumerate() {
            // A plain init container is not resized: what it had when it ran is nothing that is still in use.
            for container in containers.iter_mut().filter(|one| index == 0 || one.is_sidecar()) {
                if let Some(given) = given.iter().find(|given| given.name == container.name) {
                    given.count_in(container, infeasible);
                }
            }
        }
    }
}

impl ContainerGiven {
    fn count_in(&self, container: &mut ContainerResources, infeasible: bool) {
        let Some(has) = &self.resources else { return };
        if infeasible {
            container.resources = has.clone();
        } else {
            raise(&mut container.resources.requests, &has.requests);
            raise(&mut container.resources.limits, &has.limits);
        }
        if let Some(allocated) = &self.allocated_resources {
            raise(&mut container.resources.requests, allocated);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_most_counts_unless_it_can_never_be_had() {
        let status = |allocated: &str, has: &str, reason: &str| {
            json!({
                "containerStatuses": [{
                    "name": "c", "allocatedResources": {"cpu": allocated},
                    "resources": {"requests": {"cpu": has}, "limits": {"cpu": has}},
                }],
                "conditions": [{"type": "PodResizePending", "status": "True", "reason": reason}],
            })
        };
        for (name, asked, status, requests, limits) in [
            ("nothing is known yet", "1", json!({}), "1", "1"),
            ("not run yet", "1", json!({"containerStatuses": [{"name": "c"}]}), "1", "1"),
            ("being raised", "3", status("2", "1", ""), "3", "3"),
            ("being lowered", "1", status("1", "3", ""), "3", "3"),
            ("given, not had yet", "1", status("2", "1", ""), "2", "1"),
            ("has to wait", "5", status("1", "1", "Deferred"), "5", "5"),
            ("never to be had", "5", status("1", "1", "Infeasible"), "1", "1"),
        ] {
            let mut pod: PodResources = serde_json::from_value(json!({"containers": [
                {"name": "c", "resources": {"requests": {"cpu": asked}, "limits": {"cpu": asked}}},
            ]}))
            .expect("a spec");
            serde_json::from_value::<PodGiven>(status).expect("a status").count_in(&mut pod);
            let cpu = |list: ResourceList| list.get("cpu").map(ToString::to_string).unwrap_or_default();
            assert_eq!((cpu(pod.requests()), cpu(pod.limits())), (requests.into(), limits.into()), "{name}");
        }
    }
}
