//! What the machine needs of a pod's spec: a few words a container instead of the whole object.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use sha2::{Digest, Sha256};

use super::Amounts;
use crate::container::fields::requirements;
use crate::pod;

/// Upstream's default of `terminationGracePeriodSeconds`.
const GRACE_SECONDS_DEFAULT: i64 = 30;

/// When a container that ended is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Whatever its exit code.
    Always,
    /// Unless its exit code is 0.
    OnFailure,
    /// Not at all.
    Never,
}

/// What a container is in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs to its end before the next begins.
    Init,
    /// An init container with `restartPolicy: Always`: starts in order, runs beside the main ones.
    Sidecar,
    /// One of `spec.containers`.
    Main,
    /// One of `spec.ephemeralContainers`: comes to a pod that is there, runs once, and nothing waits for it.
    Ephemeral,
}

impl Role {
    /// The list of the spec that it is in.
    pub fn list(self) -> &'static str {
        match self {
            Self::Init | Self::Sidecar => "initContainers",
            Self::Main => "containers",
            Self::Ephemeral => "ephemeralContainers",
        }
    }
}

/// A container as the machine sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerShape {
    /// Name in the spec.
    pub name: String,
    /// Image as the spec has it.
    pub image: String,
    /// What it is in the pod.
    pub role: Role,
    /// Hash of what may change in a running pod (the image); see [`hash_of`].
    pub hash: String,
    /// The container that an ephemeral one looks into.
    pub target: Option<String>,
    /// What it asks for.
    pub resources: Amounts,
    /// Resources whose change wants it restarted (`resizePolicy`).
    pub restart_for: Vec<String>,
    /// Has a startup probe.
    pub startup: bool,
    /// Has a readiness probe.
    pub readiness: bool,
    /// Has a liveness probe.
    pub liveness: bool,
    /// Has a postStart hook, until whose end later containers wait.
    pub post_start: bool,
}

/// A pod as the machine sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodShape {
    /// Init containers first, then main ones, each in the spec's order, then ephemeral ones in the order in which they came.
    pub containers: Vec<ContainerShape>,
    /// The pod's restart policy.
    pub restart: RestartPolicy,
    /// Time from the stop signal to SIGKILL.
    pub grace: Duration,
    /// `activeDeadlineSeconds`.
    pub deadline: Option<Duration>,
    /// Condition types of `readinessGates`.
    pub gates: Vec<String>,
    /// Uses the host's network: the node's addresses are the pod's.
    pub host_network: bool,
    /// `metadata.generation` of the object.
    pub generation: Option<i64>,
    /// What the pod asks for that this node cannot do: nothing of it is started.
    pub refused: Option<String>,
}

impl PodShape {
    /// Reads a pod. A pod without spec has no containers.
    pub fn of(pod: &Pod) -> Self {
        let empty = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&empty);
        let init = spec.init_containers.iter().flatten().map(|container| {
            let sidecar = container.restart_policy.as_deref() == Some("Always");
            container_shape(container, if sidecar { Role::Sidecar } else { Role::Init })
        });
        let main = spec.containers.iter().map(|container| container_shape(container, Role::Main));
        let ephemeral = spec.ephemeral_containers.iter().flatten();
        let ephemeral = ephemeral.map(|one| ContainerShape {
            target: one.target_container_name.clone().filter(|name| !name.is_empty()),
            ..container_shape(&pod::as_container(one), Role::Ephemeral)
        });
        Self {
            containers: init.chain(main).chain(ephemeral).collect(),
            restart: match spec.restart_policy.as_deref() {
                Some("Never") => RestartPolicy::Never,
                Some("OnFailure") => RestartPolicy::OnFailure,
                _ => RestartPolicy::Always,
            },
            grace: grace(spec.termination_grace_period_seconds),
            deadline: spec.active_deadline_seconds.map(seconds),
            gates: spec.readiness_gates.iter().flatten().map(|gate| gate.condition_type.clone()).collect(),
            host_network: spec.host_network == Some(true),
            generation: pod.metadata.generation,
            refused: crate::unsupported::find(pod),
        }
    }

    /// The same with its containers in the order that `before` has them in, those that have come since at the end. None where
    /// one of `before` is not there: the API sees to it that they stay.
    pub fn in_order_of(&self, before: &Self) -> Option<Self> {
        let named = |name: &str| self.containers.iter().find(|container| container.name == name);
        let kept = before.containers.iter().map(|container| named(&container.name).cloned());
        let mut containers = kept.collect::<Option<Vec<_>>>()?;
        let is_new = |one: &&ContainerShape| !before.containers.iter().any(|old| old.name == one.name);
        let new = self.containers.iter().filter(is_new).cloned();
        containers.extend(new);
        Some(Self { containers, ..self.clone() })
    }

    /// Whether the pod has containers that must succeed before the main ones start.
    pub fn has_init(&self) -> bool {
        self.containers.iter().any(|c| matches!(c.role, Role::Init | Role::Sidecar))
    }

    /// When container `index` is started again after it ended.
    pub fn restart_policy(&self, index: usize) -> RestartPolicy {
        match (self.containers[index].role, self.restart) {
            (Role::Sidecar, _) => RestartPolicy::Always,
            (Role::Ephemeral, _) => RestartPolicy::Never,
            // An init container that succeeded is done, whatever the pod's policy.
            (Role::Init, RestartPolicy::Never) => RestartPolicy::Never,
            (Role::Init, _) => RestartPolicy::OnFailure,
            (Role::Main, policy) => policy,
        }
    }
}

/// The API takes a negative grace and says that it is one second.
fn grace(count: Option<i64>) -> Duration {
    let count = count.unwrap_or(GRACE_SECONDS_DEFAULT);
    if count < 0 { Duration::from_secs(1) } else { seconds(count) }
}

fn seconds(count: i64) -> Duration {
    Duration::from_secs(count.max(0).unsigned_abs())
}

fn container_shape(container: &Container, role: Role) -> ContainerShape {
    let image = container.image.clone().unwrap_or_default();
    let policies = container.resize_policy.iter().flatten();
    let post_start = container.lifecycle.as_ref().is_some_and(|l| l.post_start.is_some());
    ContainerShape {
        hash: hash_of(&container.name, &image),
        name: container.name.clone(),
        image,
        role,
        target: None,
        resources: Arc::new(requirements(container.resources.as_ref())),
        restart_for: policies
            .filter(|one| one.restart_policy == "RestartContainer")
            .map(|one| one.resource_name.clone())
            .collect(),
        startup: container.startup_probe.is_some(),
        readiness: container.readiness_probe.is_some(),
        liveness: container.liveness_probe.is_some(),
        post_start,
    }
}

/// Sixteen hexadecimal digits over name and image: of a running pod's containers only the image can
/// change in a way that needs a restart.
pub fn hash_of(name: &str, image: &str) -> String {
    let digest = Sha256::new().chain_update(name).chain_update([0]).chain_update(image).finalize();
    digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
