//! One container's status.

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::{ContainerShape, Exit, Live, Machine, Role, Run, Slot};

use crate::container::fields::quantities;

/// Scheme of a container id in the API: the runtime's name, as it calls itself.
const SCHEME: &str = "containerd://";

pub(super) fn status(machine: &Machine, index: usize) -> ContainerStatus {
    let (shape, slot) = (&machine.shape.containers[index], &machine.slots[index]);
    let allocated = &machine.allocated[index];
    let state = state(machine, shape, slot);
    let shown = match &slot.run {
        Run::Starting { .. } | Run::Waiting { .. } | Run::Pending => slot.last.as_ref(),
        run => exit_of(run),
    };
    let live = match &slot.run {
        Run::Running(live) | Run::Stopping(live) => Some(live),
        _ => None,
    };
    let id = live.map(|l| l.id.as_str()).or(shown.map(|e| e.id.as_str())).filter(|id| !id.is_empty());
    let image_id = live.map(|l| l.image_id.as_str()).or(shown.map(|e| e.image_id.as_str()));
    // A plain init container that succeeded counts as ready.
    let done = shape.role == Role::Init && slot.exit().is_some_and(|exit| exit.code == 0);
    ContainerStatus {
        name: shape.name.clone(),
        image: shape.image.clone(),
        image_id: image_id.unwrap_or_default().to_owned(),
        container_id: id.map(|id| format!("{SCHEME}{id}")),
        // Nothing asks an ephemeral container whether it is ready, as upstream.
        ready: shape.role != Role::Ephemeral && (done || slot.is_ready()),
        started: (shape.role != Role::Ephemeral)
            .then(|| live.is_some_and(|live| live.hooked && live.started)),
        restart_count: i32::try_from(slot.restarts).unwrap_or(i32::MAX),
        // Once it has run: what the newest one has.
        resources: slot.has.as_ref().filter(|_| id.is_some() && shape.role != Role::Ephemeral).map(|has| {
            ResourceRequirements {
                requests: quantities(&has.requests),
                limits: quantities(&has.limits),
                claims: None,
            }
        }),
        allocated_resources: quantities(&allocated.requests),
        last_state: last_state(slot),
        state: Some(state),
        ..ContainerStatus::default()
    }
}

fn exit_of(run: &Run) -> Option<&Exit> {
    match run {
        Run::Exited(exit) | Run::CrashLoop { exit, .. } => Some(exit),
        _ => None,
    }
}

fn state(machine: &Machine, shape: &ContainerShape, slot: &Slot) -> ContainerState {
    match &slot.run {
        Run::Running(live) | Run::Stopping(live) => running(live),
        Run::Exited(exit) => terminated(exit),
        Run::CrashLoop { exit, due } => {
            let pause = due.duration_since(exit.finished_at).as_secs().max(0);
            waiting(
                "CrashLoopBackOff",
                &format!("back-off {} restarting failed container={}", go_duration(pause), shape.name),
            )
        }
        Run::Waiting { reason, message, .. } => waiting(reason, message),
        // While it is started again, how it ended is more telling than "creating".
        Run::Starting { .. } if slot.last.is_some() => slot.last.as_ref().map(terminated).unwrap_or_default(),
        Run::Pending if machine.shape.refused.is_some() => {
            waiting("NotSupported", machine.shape.refused.as_deref().unwrap_or_default())
        }
        Run::Pending | Run::Starting { .. } => {
            let initializing = shape.role == Role::Main && machine.shape.has_init() && !machine.initialized
                || matches!(shape.role, Role::Init | Role::Sidecar)
                    && slot.run == Run::Pending
                    && machine.sandbox_info().is_some();
            waiting(if initializing { "PodInitializing" } else { "ContainerCreating" }, "")
        }
    }
}

fn last_state(slot: &Slot) -> Option<ContainerState> {
    match &slot.run {
        Run::CrashLoop { exit, .. } => Some(terminated(exit)),
        _ => slot.last.as_ref().map(terminated),
    }
}

fn running(live: &Live) -> ContainerState {
    let running = ContainerStateRunning { started_at: Some(Time(live.started_at)) };
    ContainerState { running: Some(running), ..ContainerState::default() }
}

fn waiting(reason: &str, message: &str) -> ContainerState {
    let waiting = ContainerStateWaiting {
        reason: Some(reason.to_owned()),
        message: (!message.is_empty()).then(|| message.to_owned()),
    };
    ContainerState { waiting: Some(waiting), ..ContainerState::default() }
}

fn terminated(exit: &Exit) -> ContainerState {
    let terminated = ContainerStateTerminated {
        container_id: (!exit.id.is_empty()).then(|| format!("{SCHEME}{}", exit.id)),
        exit_code: exit.code,
        reason: Some(exit.reason.clone()),
        message: (!exit.message.is_empty()).then(|| exit.message.clone()),
        started_at: exit.started_at.map(Time),
        finished_at: Some(Time(exit.finished_at)),
        ..ContainerStateTerminated::default()
    };
    ContainerState { terminated: Some(terminated), ..ContainerState::default() }
}

/// Seconds as Go prints a duration: `40s`, `2m40s`.
fn go_duration(seconds: i64) -> String {
    match (seconds / 60, seconds % 60) {
        (0, s) => format!("{s}s"),
        (m, s) => format!("{m}m{s}s"),
    }
}
