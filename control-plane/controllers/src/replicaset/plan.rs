//! How many pods to create, which to delete, and what the status says. Pure.
//!
//! The ranking for deletion is documented on the ReplicaSet page ("Scaling a ReplicaSet"): pending first, then lower
//! deletion cost, then nodes with more replicas, then the more recently created, with ages compared in powers of two.

use keelson_harness::{
    Timestamp,
    views::{Availability, Condition, Phase, Pod, ReplicaSet, ReplicaSetStatus},
};
use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

/// Pods created or deleted in one go.
pub(super) const BURST_MAX: usize = 500;
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// What brings the number of pods to what is wanted.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) create: usize,
    pub(super) delete: Vec<Arc<Pod>>,
}

/// `active`: its pods that count. `related`: active pods of all ReplicaSets of the same owner, for the ranking.
pub(super) fn plan(set: &ReplicaSet, active: &[Arc<Pod>], related: &[Arc<Pod>], now: Timestamp) -> Plan {
    let wanted = usize::try_from(set.spec.replicas).unwrap_or(0);
    if active.len() <= wanted {
        return Plan { create: (wanted - active.len()).min(BURST_MAX), delete: Vec::new() };
    }
    let surplus = (active.len() - wanted).min(BURST_MAX);
    let mut on_node: HashMap<&str, usize> = HashMap::new();
    for pod in related {
        *on_node.entry(&pod.node_name).or_default() += 1;
    }
    let mut ranked: Vec<(Rank, &Arc<Pod>)> = active
        .iter()
        .map(|p| (Rank::new(p, on_node.get(&*p.node_name).copied().unwrap_or(0), now), p))
        .collect();
    ranked.sort_by(|a, b| a.0.cmp(&b.0));
    Plan { create: 0, delete: ranked.into_iter().take(surplus).map(|(_, p)| p.clone()).collect() }
}

/// Smaller goes first. The order of the fields is the order of the rules.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    assigned: bool,
    phase: u8,
    ready: bool,
    deletion_cost: i32,
    doubled_up: Reverse<usize>,
    ready_age: Age,
    restarts: Reverse<i32>,
    age: Age,
    uid: Arc<str>,
}

/// Younger is smaller, in powers of two of seconds, so that similar ages fall to the later rules (and spread).
#[derive(PartialEq, Eq)]
struct Age(Option<u32>);

impl Age {
    fn new(since: Option<Timestamp>, now: Timestamp) -> Self {
        Age(since.map(|s| 64 - now.since(s).as_secs().leading_zeros()))
    }
}

impl Ord for Age {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Age {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Rank {
    fn new(pod: &Pod, on_its_node: usize, now: Timestamp) -> Self {
        let cost = pod.metadata.annotation(DELETION_COST).and_then(|c| c.parse().ok());
        let ready = pod.status.ready.as_ref().filter(|c| c.is_true);
        Rank {
            assigned: !pod.node_name.is_empty(),
            phase: match pod.status.phase {
                Phase::Pending => 0,
                Phase::Unknown => 1,
                _ => 2,
            },
            ready: ready.is_some(),
            deletion_cost: cost.unwrap_or(0),
            doubled_up: Reverse(on_its_node),
            ready_age: Age::new(ready.and_then(|c| c.since), now),
            restarts: Reverse(pod.status.restarts_max),
            age: Age::new(pod.metadata.creation_timestamp, now),
            uid: pod.metadata.uid.clone(),
        }
    }
}

/// A failed attempt to change the number of pods, for the condition ReplicaFailure.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// The status, and when a pod that is ready will count as available.
pub(super) fn status(
    set: &ReplicaSet,
    active: &[Arc<Pod>],
    terminating: Option<usize>,
    template_labels: &BTreeMap<String, String>,
    failure: Option<&Failure>,
    now: Timestamp,
) -> (ReplicaSetStatus, Option<Duration>) {
    let min_ready = Duration::from_secs(set.spec.min_ready_seconds.max(0) as u64);
    let count = |f: &dyn Fn(&Pod) -> bool| active.iter().filter(|p| f(p)).count() as i32;
    let labeled = |p: &Pod| template_labels.iter().all(|(k, v)| p.metadata.labels.get(k) == Some(v));
    let mut soon: Option<Duration> = None;
    let mut available = 0;
    for pod in active {
        match pod.availability(min_ready, now) {
            Availability::Yes => available += 1,
            Availability::In(wait) => soon = Some(soon.map_or(wait, |s| s.min(wait))),
            Availability::No => {}
        }
    }
    let status = ReplicaSetStatus {
        replicas: active.len() as i32,
        fully_labeled_replicas: count(&labeled),
        ready_replicas: count(&Pod::is_ready),
        available_replicas: available,
        terminating_replicas: terminating.map(|number| number as i32),
        observed_generation: set.metadata.generation,
        conditions: conditions(&set.status.conditions, active.len() as i32 - set.spec.replicas, failure, now),
    };
    (status, soon)
}

/// ReplicaFailure stands while an attempt fails, and goes when one succeeds or nothing is left to do.
fn conditions(old: &[Condition], surplus: i32, failure: Option<&Failure>, now: Timestamp) -> Vec<Condition> {
    const REPLICA_FAILURE: &str = "ReplicaFailure";
    let current = old.iter().find(|c| c.r#type == REPLICA_FAILURE);
    let mut conditions: Vec<Condition> =
        old.iter().filter(|c| c.r#type != REPLICA_FAILURE).cloned().collect();
    match (failure, current) {
        (Some(_), Some(standing)) => conditions.push(standing.clone()),
        (Some(failure), None) if surplus != 0 => conditions.push(Condition {
            r#type: REPLICA_FAILURE.to_owned(),
            status: "True".to_owned(),
            reason: failure.reason.to_owned(),
            message: failure.message.clone(),
            last_update_time: None,
            last_transition_time: Some(now),
        }),
        _ => {}
    }
    conditions
}
