//! The conditions that the node writes: PodReadyToStartContainers, Initialized, ContainersReady, Ready.
//! Others (PodScheduled, readiness gates) are read, never written: the patch merges by type.

use k8s_openapi::api::core::v1::PodCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::resize::{Asking, Refusal};
use super::super::{Applying, Machine, Role, Slot};
use super::{Facts, Phase};

/// The node has not agreed to what the spec asks for.
pub(crate) const RESIZE_PENDING: &str = "PodResizePending";
/// It has, and containers are being brought to it.
pub(crate) const RESIZE_IN_PROGRESS: &str = "PodResizeInProgress";

/// Whether a condition holds and, if not, why.
enum Verdict {
    Holds,
    Done,
    Not { reason: &'static str, message: String },
}

pub(super) fn conditions(machine: &Machine, phase: Phase, facts: &Facts<'_>) -> Vec<PodCondition> {
    let containers = containers_ready(machine, phase);
    let ready = match &containers {
        Verdict::Holds => gates(machine, facts),
        Verdict::Done => Verdict::Not { reason: "PodCompleted", message: String::new() },
        Verdict::Not { reason, message } => Verdict::Not { reason, message: message.clone() },
    };
    let sandbox = match machine.sandbox_info() {
        Some(_) => Verdict::Holds,
        None => Verdict::Not { reason: "", message: String::new() },
    };
    let containers = match containers {
        Verdict::Done => Verdict::Not { reason: "PodCompleted", message: String::new() },
        other => other,
    };
    [
        ("PodReadyToStartContainers", sandbox),
        ("Initialized", initialized(machine, phase)),
        ("Ready", ready),
        ("ContainersReady", containers),
    ]
    .map(|(kind, verdict)| condition(kind, verdict, facts))
    .into_iter()
    .chain(resize(machine, facts))
    .collect()
}

/// They are there only while they hold.
fn resize(machine: &Machine, facts: &Facts<'_>) -> impl Iterator<Item = PodCondition> {
    let holds = |kind: &str, reason: &str, message: &str, generation| PodCondition {
        observed_generation: generation,
        ..told(kind, true, reason, message, facts)
    };
    let pending = match &machine.resize.asking {
        Asking::Refused { refusal: Refusal::Deferred(why), .. } => Some(("Deferred", why)),
        Asking::Refused { refusal: Refusal::Infeasible(why), .. } => Some(("Infeasible", why)),
        Asking::Settled | Asking::Asked => None,
    };
    let pending = pending.map(|(reason, why)| holds(RESIZE_PENDING, reason, why, facts.generation));
    let (reason, message) = match &machine.resize.applying {
        Applying::Failed { message, .. } => ("Error", message.as_str()),
        Applying::Idle | Applying::Working { .. } => ("", ""),
    };
    // Of pods whose cgroup a daemon only looks after again there is nothing to tell.
    let is_resizing = machine.resize.generation.is_some() && machine.is_resizing() || !reason.is_empty();
    let progress = is_resizing
        .then(|| holds(RESIZE_IN_PROGRESS, reason, message, machine.resize.generation.or(facts.generation)));
    pending.into_iter().chain(progress)
}

fn condition(kind: &str, verdict: Verdict, facts: &Facts<'_>) -> PodCondition {
    match verdict {
        Verdict::Holds => told(kind, true, "", "", facts),
        Verdict::Done => told(kind, true, "PodCompleted", "", facts),
        Verdict::Not { reason, message } => told(kind, false, reason, &message, facts),
    }
}

fn told(kind: &str, holds: bool, reason: &str, message: &str, facts: &Facts<'_>) -> PodCondition {
    let status = if holds { "True" } else { "False" };
    let before = facts.conditions.iter().find(|c| c.type_ == kind && c.status == status);
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    PodCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: some(reason),
        message: some(message),
        last_transition_time: before.and_then(|c| c.last_transition_time.clone()).or(Some(Time(facts.now))),
        observed_generation: facts.generation,
        ..PodCondition::default()
    }
}

/// Of the plain init containers, or of those that run as long as the pod does, those that are `bad`.
fn names(machine: &Machine, init: bool, bad: impl Fn(Role, &Slot) -> bool) -> Vec<&str> {
    machine
        .shape
        .containers
        .iter()
        .zip(&machine.slots)
        .filter(|(shape, _)| shape.role != Role::Ephemeral)
        .filter(|(shape, slot)| (shape.role == Role::Init) == init && bad(shape.role, slot))
        .map(|(shape, _)| shape.name.as_str())
        .collect()
}

fn containers_ready(machine: &Machine, phase: Phase) -> Verdict {
    match phase {
        Phase::Succeeded => return Verdict::Done,
        Phase::Failed => return Verdict::Not { reason: "PodFailed", message: String::new() },
        Phase::Pending | Phase::Running => {}
    }
    let unready = names(machine, false, |_, slot| !slot.is_ready());
    if unready.is_empty() {
        return Verdict::Holds;
    }
    let message = format!("containers with unready status: [{}]", unready.join(" "));
    Verdict::Not { reason: "ContainersNotReady", message }
}

fn initialized(machine: &Machine, phase: Phase) -> Verdict {
    if phase == Phase::Succeeded {
        return Verdict::Done;
    }
    let done = |slot: &Slot| slot.exit().is_some_and(|exit| exit.code == 0);
    let mut incomplete = names(machine, true, |_, slot| !done(slot));
    incomplete.extend(names(machine, false, |role, slot| role == Role::Sidecar && !slot.has_started()));
    if machine.initialized || incomplete.is_empty() {
        return Verdict::Holds;
    }
    let message = format!("containers with incomplete status: [{}]", incomplete.join(" "));
    Verdict::Not { reason: "ContainersNotInitialized", message }
}

/// Ready is ContainersReady and every readiness gate that the spec names.
fn gates(machine: &Machine, facts: &Facts<'_>) -> Verdict {
    let mut missing = Vec::new();
    for gate in &machine.shape.gates {
        match facts.conditions.iter().find(|condition| condition.type_ == *gate) {
            None => {
                missing.push(format!(
                    "corresponding condition of pod readiness gate \"{gate}\" does not exist."
                ));
            }
            Some(condition) if condition.status != "True" => missing.push(format!(
                "the status of pod readiness gate \"{gate}\" is not \"True\", but {}",
                condition.status
            )),
            Some(_) => {}
        }
    }
    if missing.is_empty() {
        return Verdict::Holds;
    }
    Verdict::Not { reason: "ReadinessGatesNotReady", message: missing.join(", ") }
}
