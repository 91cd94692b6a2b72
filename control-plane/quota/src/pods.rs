//! Pods: themselves, and what they ask for.

use crate::one;
use keelson_semantics::{PodResources, ResourceList, resized::PodGiven, timestamp};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use time::{Duration, OffsetDateTime};

/// Names that every container must state when a quota has them.
const STATED: [&str; 6] = ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

/// A pod that has ended, or should have by its grace, counts only as an object.
pub(crate) fn add(used: &mut ResourceList, pod: &Value, now: OffsetDateTime) {
    if !is_counted(pod, now) {
        return;
    }
    used.insert("pods".to_owned(), one());
    if let Some(resources) = counted(pod) {
        add_computed(used, &resources.requests(), &resources.limits());
    }
}

fn is_counted(pod: &Value, now: OffsetDateTime) -> bool {
    if matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded")) {
        return false;
    }
    let metadata = &pod["metadata"];
    let deleted = metadata["deletionTimestamp"].as_str().and_then(|text| timestamp::parse(text).ok());
    let grace = metadata["deletionGracePeriodSeconds"].as_i64();
    match (deleted, grace) {
        (Some(at), Some(grace)) => now <= at + Duration::seconds(grace),
        _ => true,
    }
}

fn resources(pod: &Value) -> Option<PodResources> {
    PodResources::deserialize(pod.get("spec")?).ok()
}

/// What it asks for, or what its node has given it where that is more.
fn counted(pod: &Value) -> Option<PodResources> {
    let mut asked = resources(pod)?;
    if let Some(given) = pod.get("status").and_then(|status| PodGiven::deserialize(status).ok()) {
        given.count_in(&mut asked);
    }
    Some(asked)
}

/// The names that requests and limits are counted under.
fn add_computed(used: &mut ResourceList, requests: &ResourceList, limits: &ResourceList) {
    for (name, amount) in requests {
        let is_plain =
            matches!(&**name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
        if is_plain {
            used.insert(name.clone(), *amount);
        }
        if is_plain || name.contains('/') {
            used.insert(format!("requests.{name}"), *amount);
        }
    }
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(amount) = limits.get(name) {
            used.insert(format!("limits.{name}"), *amount);
        }
    }
}

/// `must specify limits.cpu for: a,b; requests.memory for: b`. What the pod as a whole states its containers need not.
pub(crate) fn unstated(pod: &Value, names: &[&str]) -> Option<String> {
    let all = resources(pod)?;
    let mut wanted: BTreeSet<&str> = names.iter().copied().filter(|name| STATED.contains(name)).collect();
    if let Some(whole) = &all.resources {
        let stated = stated(&whole.requests, &whole.limits);
        wanted.retain(|name| !stated.contains_key(*name));
    }
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (list, known) in [("containers", &all.containers), ("initContainers", &all.init_containers)] {
        let named = pod["spec"][list].as_array().into_iter().flatten();
        for (container, asked) in named.zip(known) {
            let stated = stated(&asked.resources.requests, &asked.resources.limits);
            for name in wanted.iter().copied().filter(|name| !stated.contains_key(*name)) {
                missing.entry(name).or_default().insert(container["name"].as_str().unwrap_or_default());
            }
        }
    }
    let words: Vec<String> = missing
        .into_iter()
        .map(|(name, containers)| {
            format!("{name} for: {}", containers.into_iter().collect::<Vec<_>>().join(","))
        })
        .collect();
    (!words.is_empty()).then(|| format!("must specify {}", words.join("; ")))
}

fn stated(requests: &ResourceList, limits: &ResourceList) -> ResourceList {
    let mut stated = ResourceList::new();
    add_computed(&mut stated, requests, limits);
    stated
}
