//! The annotation from which it can be measured how long a change takes to reach the nodes: when what the slice shows
//! changed. Pure.
//!
//! Rule: upstream's `TriggerTimeTracker`. The first of the changes since the last write counts; a write that follows
//! from none (a label, a node's zone) has no time.

use keelson_harness::{
    ObjectKey, Timestamp,
    views::{Pod, Service},
};
use std::{collections::HashMap, sync::Arc};

pub(crate) const ANNOTATION: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// The times that were looked at last.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    service: Option<Timestamp>,
    pods: HashMap<ObjectKey, Timestamp>,
}

/// The times now, and the earliest of those that are new.
pub(crate) fn look(last: Option<&Seen>, service: &Service, pods: &[Arc<Pod>]) -> (Seen, Option<Timestamp>) {
    let changed_at = |pod: &Pod| pod.status.ready.as_ref().and_then(|ready| ready.since);
    let timed = pods.iter().filter_map(|pod| Some((pod.metadata.key(), changed_at(pod)?)));
    let seen = Seen { service: service.metadata.creation_timestamp, pods: timed.collect() };
    let is_new = |pod: &ObjectKey, at: Timestamp| {
        last.and_then(|last| last.pods.get(pod)).is_none_or(|before| *before < at)
    };
    let pods = seen.pods.iter().filter(|(pod, at)| is_new(pod, **at)).map(|(_, at)| *at);
    let service =
        seen.service.filter(|at| last.and_then(|last| last.service).is_none_or(|before| before < *at));
    let trigger = pods.chain(service).min();
    (seen, trigger)
}
