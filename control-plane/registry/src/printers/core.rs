//! ConfigMap, Event, Namespace, Node, PersistentVolumeClaim, Secret.

use super::text::{NONE, count, name, or, set, since};
use crate::meta;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use time::OffsetDateTime;

pub(super) fn config_map(object: &Value, age: Value) -> Vec<Value> {
    let keys = meta::entries(object, &["data"]).count() + meta::entries(object, &["binaryData"]).count();
    vec![name(object), json!(keys), age]
}

pub(super) fn resource_quota(object: &Value, age: Value) -> Vec<Value> {
    let part = |is_limit: bool| {
        let all: Vec<String> = meta::entries(object, &["status", "hard"])
            .filter(|(name, _)| name.starts_with("limits.") == is_limit)
            .map(|(name, hard)| {
                let used = meta::text(object, &["status", "used", name]);
                format!(
                    "{name}: {}/{}",
                    if used.is_empty() { "0" } else { used },
                    hard.as_str().unwrap_or_default()
                )
            })
            .collect();
        json!(all.join(", "))
    };
    vec![name(object), part(false), part(true), age]
}

pub(super) fn secret(object: &Value, age: Value) -> Vec<Value> {
    let keys = meta::entries(object, &["data"]).count();
    vec![name(object), json!(meta::text(object, &["type"])), json!(keys), age]
}

pub(super) fn namespace(object: &Value, age: Value) -> Vec<Value> {
    vec![name(object), json!(meta::text(object, &["status", "phase"])), age]
}

pub(super) fn node(object: &Value, age: Value) -> Vec<Value> {
    let address = |kind: &str| {
        let all = meta::items(object, &["status", "addresses"]);
        let found = all.iter().find(|address| meta::text(address, &["type"]) == kind);
        or(found.map_or("", |address| meta::text(address, &["address"])), NONE)
    };
    let info = |key: &str| meta::text(object, &["status", "nodeInfo", key]);
    let kernel = match (info("kernelVersion"), info("architecture")) {
        ("", _) => "<unknown>".to_owned(),
        (kernel, "") => kernel.to_owned(),
        (kernel, architecture) => format!("{kernel} ({architecture})"),
    };
    vec![
        name(object),
        json!(node_status(object)),
        node_roles(object),
        age,
        json!(info("kubeletVersion")),
        address("InternalIP"),
        address("ExternalIP"),
        or(info("osImage"), "<unknown>"),
        json!(kernel),
        or(info("containerRuntimeVersion"), "<unknown>"),
    ]
}

fn node_status(object: &Value) -> String {
    let conditions = meta::items(object, &["status", "conditions"]);
    let ready = conditions.iter().find(|condition| meta::text(condition, &["type"]) == "Ready");
    let mut status = match ready.map(|condition| meta::text(condition, &["status"])) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if object.pointer("/spec/unschedulable") == Some(&Value::Bool(true)) {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn node_roles(object: &Value) -> Value {
    let roles: BTreeSet<&str> = meta::entries(object, &["metadata", "labels"])
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if key == "kubernetes.io/role" => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    or(&roles.into_iter().collect::<Vec<_>>().join(","), NONE)
}

pub(super) fn claim(object: &Value, age: Value) -> Vec<Value> {
    let volume = meta::text(object, &["spec", "volumeName"]);
    let phase = if meta::deleting(object) { "Terminating" } else { meta::text(object, &["status", "phase"]) };
    let bound = |text: Value| if volume.is_empty() { json!("") } else { text };
    let legacy = meta::text(object, &["metadata", "annotations", "volume.beta.kubernetes.io/storage-class"]);
    let class = if legacy.is_empty() { meta::text(object, &["spec", "storageClassName"]) } else { legacy };
    vec![
        name(object),
        json!(phase),
        json!(volume),
        bound(or(meta::text(object, &["status", "capacity", "storage"]), "0")),
        bound(json!(access_modes(object, "status"))),
        json!(class),
        set(object, &["spec", "volumeAttributesClassName"]),
        age,
        or(meta::text(object, &["spec", "volumeMode"]), "<unset>"),
    ]
}

/// Of a claim they are in its status, of a volume in its spec.
pub(super) fn access_modes(object: &Value, part: &str) -> String {
    const SHORT: &[(&str, &str)] = &[
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let given = meta::items(object, &[part, "accessModes"]);
    let shown: Vec<&str> =
        SHORT.iter().filter(|(mode, _)| given.contains(&json!(mode))).map(|(_, short)| *short).collect();
    shown.join(",")
}

/// Both events: each name of the one is followed by that of the other.
pub(super) fn event(object: &Value, now: OffsetDateTime) -> Vec<Value> {
    let either = |a: &[&str], b: &[&str]| {
        let text = meta::text(object, a);
        (if text.is_empty() { meta::text(object, b) } else { text }).to_owned()
    };
    let about = |key: &str| either(&["involvedObject", key], &["regarding", key]);
    let first = either(&["firstTimestamp"], &["deprecatedFirstTimestamp"]);
    let first = if first.is_empty() { meta::text(object, &["eventTime"]).to_owned() } else { first };
    let series = meta::at(object, &["series"]);
    let last = match (series, either(&["lastTimestamp"], &["deprecatedLastTimestamp"])) {
        (Some(series), _) => meta::text(series, &["lastObservedTime"]).to_owned(),
        (None, last) if last.is_empty() => first.clone(),
        (None, last) => last,
    };
    let times = match series {
        Some(series) => count(series, &["count"]),
        None => count(object, &["count"]).max(count(object, &["deprecatedCount"])).max(1),
    };
    let kind = about("kind").to_lowercase();
    let target = match about("name") {
        name if name.is_empty() => kind,
        name => format!("{kind}/{name}"),
    };
    vec![
        json!(since(&last, now)),
        json!(meta::text(object, &["type"])),
        json!(meta::text(object, &["reason"])),
        json!(target),
        json!(about("fieldPath")),
        json!(event_source(object)),
        json!(either(&["message"], &["note"]).trim()),
        json!(since(&first, now)),
        json!(times),
        name(object),
    ]
}

fn event_source(object: &Value) -> String {
    let first = |paths: [&[&str]; 3]| {
        paths
            .into_iter()
            .map(|path| meta::text(object, path))
            .find(|text| !text.is_empty())
            .unwrap_or_default()
    };
    let component =
        first([&["source", "component"], &["deprecatedSource", "component"], &["reportingComponent"]]);
    let component =
        if component.is_empty() { meta::text(object, &["reportingController"]) } else { component };
    match first([&["source", "host"], &["deprecatedSource", "host"], &["reportingInstance"]]) {
        "" => component.to_owned(),
        host => format!("{component}, {host}"),
    }
}
