//! The status of a Deployment: counts, and the conditions that `kubectl rollout status` reads. Pure.

use super::{bounds::bounds, plan::Set};
use crate::condition;
use keelson_harness::{
    Timestamp,
    views::{Condition, Deployment, DeploymentStatus},
};
use std::time::Duration;

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const REPLICA_FAILURE: &str = "ReplicaFailure";
const NEW_SET_AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

fn deadline(deployment: &Deployment) -> Option<Duration> {
    let seconds = deployment.spec.progress_deadline_seconds.filter(|&s| s != i32::MAX)?;
    Some(Duration::from_secs(seconds.max(0) as u64))
}

/// Pausing stops the clock of the progress deadline, resuming starts it anew.
pub(super) fn paused(status: &mut DeploymentStatus, deployment: &Deployment, now: Timestamp) {
    if deadline(deployment).is_none() {
        return;
    }
    let reason = condition::get(&status.conditions, PROGRESSING).map(|c| c.reason.as_str());
    let (reason, message) = match (deployment.spec.paused, reason) {
        (_, Some(TIMED_OUT)) => return,
        (true, Some(PAUSED)) => return,
        (true, _) => (PAUSED, "Deployment is paused"),
        (false, Some(PAUSED)) => ("DeploymentResumed", "Deployment is resumed"),
        (false, _) => return,
    };
    let new = condition::new(PROGRESSING, "Unknown", reason, message.to_owned(), now);
    condition::set(&mut status.conditions, new);
}

/// The set of the current template was there already.
pub(super) fn found(status: &mut DeploymentStatus, deployment: &Deployment, set: &str, now: Timestamp) {
    if deadline(deployment).is_some() && condition::get(&status.conditions, PROGRESSING).is_none() {
        let message = format!("Found new replica set {set:?}");
        condition::set(
            &mut status.conditions,
            condition::new(PROGRESSING, "True", "FoundNewReplicaSet", message, now),
        );
    }
}

/// The set of the current template is created now.
pub(super) fn created(status: &mut DeploymentStatus, deployment: &Deployment, set: &str, now: Timestamp) {
    if deadline(deployment).is_some() {
        let message = format!("Created new replica set {set:?}");
        let new = condition::new(PROGRESSING, "True", "NewReplicaSetCreated", message, now);
        condition::set(&mut status.conditions, new);
    }
}

/// All pods are new, all are available, and the status speaks of this generation.
pub(super) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = deployment.spec.replicas;
    status.updated_replicas == wanted
        && status.replicas == wanted
        && status.available_replicas == wanted
        && status.observed_generation >= deployment.metadata.generation
}

/// Counts and the condition Available, on top of the conditions in `base`.
pub(super) fn counts(
    deployment: &Deployment,
    base: &DeploymentStatus,
    sets: &[&Set],
    new: Option<&Set>,
    now: Timestamp,
) -> DeploymentStatus {
    let sum = |f: &dyn Fn(&Set) -> i32| sets.iter().map(|s| f(s)).sum::<i32>();
    let available = sum(&|s| s.status().available_replicas);
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: sum(&|s| s.status().replicas),
        updated_replicas: new.map_or(0, |s| s.status().replicas),
        ready_replicas: sum(&|s| s.status().ready_replicas),
        available_replicas: available,
        unavailable_replicas: (sum(&|s| s.replicas) - available).max(0),
        terminating_replicas: Some(sum(&|s| s.status().terminating_replicas.unwrap_or(0))),
        conditions: base.conditions.clone(),
        collision_count: base.collision_count,
    };
    let enough = available >= deployment.spec.replicas - bounds(deployment).unavailable;
    let (is, reason, message) = match enough {
        true => ("True", "MinimumReplicasAvailable", "Deployment has minimum availability."),
        false => ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability."),
    };
    condition::set(&mut status.conditions, condition::new(AVAILABLE, is, reason, message.to_owned(), now));
    status
}

/// The conditions Progressing and ReplicaFailure. Answers when the deadline has to be looked at.
pub(super) fn progress(
    status: &mut DeploymentStatus,
    deployment: &Deployment,
    sets: &[&Set],
    new: Option<&Set>,
    now: Timestamp,
) -> Option<Duration> {
    replica_failure(status, sets, new);
    let Some(deadline) = deadline(deployment) else {
        condition::remove(&mut status.conditions, PROGRESSING);
        return None;
    };
    let before = condition::get(&deployment.status.conditions, PROGRESSING).cloned();
    let done = before.as_ref().is_some_and(|c| c.reason == NEW_SET_AVAILABLE);
    if !(done && status.replicas == status.updated_replicas) {
        advance(status, deployment, new, before.as_ref(), deadline, now);
    }
    let current = condition::get(&status.conditions, PROGRESSING)?;
    if is_complete(deployment, status) || current.reason == TIMED_OUT {
        return None;
    }
    // One second later than the deadline: times of conditions have whole seconds.
    current.last_update_time.map(|at| at.after(deadline).since(now) + Duration::from_secs(1))
}

fn advance(
    status: &mut DeploymentStatus,
    deployment: &Deployment,
    new: Option<&Set>,
    before: Option<&Condition>,
    deadline: Duration,
    now: Timestamp,
) {
    let subject = match new {
        Some(set) => format!("ReplicaSet {:?}", set.name),
        None => format!("Deployment {:?}", deployment.metadata.name),
    };
    if is_complete(deployment, status) {
        let message = format!("{subject} has successfully progressed.");
        let new = condition::new(PROGRESSING, "True", NEW_SET_AVAILABLE, message, now);
        condition::set(&mut status.conditions, new);
    } else if has_advanced(&deployment.status, status) {
        let message = format!("{subject} is progressing.");
        let mut new = condition::new(PROGRESSING, "True", "ReplicaSetUpdated", message, now);
        // Replaced even if reason and status stay: its update time starts the deadline anew.
        if let Some(before) = before {
            if before.status == "True" {
                new.last_transition_time = before.last_transition_time;
            }
            condition::remove(&mut status.conditions, PROGRESSING);
        }
        condition::set(&mut status.conditions, new);
    } else if has_timed_out(&status.conditions, deadline, now) {
        let message = format!("{subject} has timed out progressing.");
        condition::set(&mut status.conditions, condition::new(PROGRESSING, "False", TIMED_OUT, message, now));
    }
}

fn has_advanced(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    new.updated_replicas > old.updated_replicas
        || new.replicas - new.updated_replicas < old.replicas - old.updated_replicas
        || new.ready_replicas > old.ready_replicas
        || new.available_replicas > old.available_replicas
}

fn has_timed_out(conditions: &[Condition], deadline: Duration, now: Timestamp) -> bool {
    let Some(current) = condition::get(conditions, PROGRESSING) else { return false };
    match current.reason.as_str() {
        NEW_SET_AVAILABLE => false,
        TIMED_OUT => true,
        _ => current.last_update_time.is_some_and(|at| at.after(deadline) < now),
    }
}

/// A failure of the new set counts first, then that of any.
fn replica_failure(status: &mut DeploymentStatus, sets: &[&Set], new: Option<&Set>) {
    let failure = |set: &Set| condition::get(&set.status().conditions, REPLICA_FAILURE).cloned();
    let found = new.and_then(failure).or_else(|| sets.iter().copied().find_map(failure));
    condition::remove(&mut status.conditions, REPLICA_FAILURE);
    if let Some(mut found) = found {
        found.last_update_time = found.last_update_time.or(found.last_transition_time);
        status.conditions.push(found);
    }
}
