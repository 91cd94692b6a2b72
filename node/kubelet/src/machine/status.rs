//! From the machine's state to what the API shows: phase, conditions and container statuses, with
//! upstream's reasons and messages (API reference, PodStatus). Pure: the same state gives the same
//! status, except for the times at which conditions changed, which are carried over from the last one.

mod conditions;
mod containers;

pub(crate) use conditions::{RESIZE_IN_PROGRESS, RESIZE_PENDING};

use k8s_openapi::api::core::v1::{HostIP, PodCondition, PodIP, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::{Machine, RestartPolicy, Role, Run, Slot, Stage, Why};

/// What the status needs beside the machine's state.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Addresses of the node, the primary one first.
    pub host_ips: &'a [String],
    /// `Guaranteed`, `Burstable` or `BestEffort`.
    pub qos: &'static str,
    /// `metadata.generation` of the object that the machine's shape was read from.
    pub generation: Option<i64>,
    /// Conditions that the object has, whoever wrote them.
    pub conditions: &'a [PodCondition],
    /// Now.
    pub now: Timestamp,
}

/// The pod's place in its life, for users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A container has yet to start for the first time.
    Pending,
    /// At least one runs, or is about to again.
    Running,
    /// All ended well and stay so.
    Succeeded,
    /// All ended and one did not end well.
    Failed,
}

impl Phase {
    /// As in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }
}

/// The whole status, as a patch body: conditions are only the node's own.
pub fn pod_status(machine: &Machine, facts: &Facts<'_>) -> PodStatus {
    let phase = phase(machine);
    let ips = pod_ips(machine, facts);
    let deadline = matches!(
        machine.stage,
        Stage::Stopping { why: Why::Deadline, .. }
            | Stage::Releasing { why: Why::Deadline }
            | Stage::Stopped { why: Why::Deadline }
    );
    let statuses = |roles: &[Role]| {
        let all = machine.shape.containers.iter().enumerate();
        let statuses: Vec<_> = all
            .filter(|(_, shape)| roles.contains(&shape.role))
            .map(|(index, _)| containers::status(machine, index))
            .collect();
        (!statuses.is_empty()).then_some(statuses)
    };
    PodStatus {
        phase: Some(phase.as_str().to_owned()),
        conditions: Some(conditions::conditions(machine, phase, facts)),
        reason: deadline.then(|| "DeadlineExceeded".to_owned()),
        message: deadline.then(|| "Pod was active on the node longer than the specified deadline".to_owned()),
        host_ip: facts.host_ips.first().cloned(),
        host_ips: Some(facts.host_ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect()),
        pod_ip: ips.first().cloned(),
        pod_ips: (!ips.is_empty()).then(|| ips.iter().map(|ip| PodIP { ip: ip.clone() }).collect()),
        start_time: Some(Time(machine.started_at)),
        init_container_statuses: statuses(&[Role::Init, Role::Sidecar]),
        container_statuses: statuses(&[Role::Main]),
        ephemeral_container_statuses: statuses(&[Role::Ephemeral]),
        qos_class: Some(facts.qos.to_owned()),
        observed_generation: facts.generation,
        ..PodStatus::default()
    }
}

fn pod_ips(machine: &Machine, facts: &Facts<'_>) -> Vec<String> {
    if machine.shape.host_network {
        return facts.host_ips.to_vec();
    }
    machine.sandbox_info().map(|info| info.ips.clone()).unwrap_or_default()
}

/// Upstream's getPhase, over our states.
pub fn phase(machine: &Machine) -> Phase {
    if matches!(
        machine.stage,
        Stage::Stopped { why: Why::Deadline } | Stage::Releasing { why: Why::Deadline }
    ) {
        return Phase::Failed;
    }
    let ended = matches!(
        machine.stage,
        Stage::Releasing { .. } | Stage::Stopped { .. } | Stage::Removing | Stage::Gone
    );
    let mains: Vec<&Slot> = machine
        .slots
        .iter()
        .zip(&machine.shape.containers)
        .filter(|(_, shape)| shape.role == Role::Main)
        .map(|(slot, _)| slot)
        .collect();
    let exits: Vec<i32> = mains.iter().filter_map(|slot| slot.exit().map(|exit| exit.code)).collect();
    if ended {
        let all_well = exits.len() == mains.len() && exits.iter().all(|code| *code == 0);
        return if all_well { Phase::Succeeded } else { Phase::Failed };
    }
    let never_ran = |slot: &&Slot| {
        slot.last.is_none() && matches!(slot.run, Run::Pending | Run::Starting { .. } | Run::Waiting { .. })
    };
    if !machine.initialized || mains.iter().any(never_ran) {
        return Phase::Pending;
    }
    if exits.len() < mains.len() || machine.shape.restart == RestartPolicy::Always {
        return Phase::Running;
    }
    match (exits.iter().all(|code| *code == 0), machine.shape.restart) {
        (true, _) => Phase::Succeeded,
        (false, RestartPolicy::Never) => Phase::Failed,
        (false, _) => Phase::Running,
    }
}
