//! Deployment, ReplicaSet, ControllerRevision.

use super::text::{NONE, containers, count, label_selector, name};
use crate::meta;
use serde_json::{Value, json};

const CONTAINERS: &[&str] = &["spec", "template", "spec", "containers"];

pub(super) fn deployment(object: &Value, age: Value) -> Vec<Value> {
    let ready =
        format!("{}/{}", count(object, &["status", "readyReplicas"]), count(object, &["spec", "replicas"]));
    let [names, images] = containers(object, CONTAINERS);
    vec![
        name(object),
        json!(ready),
        json!(count(object, &["status", "updatedReplicas"])),
        json!(count(object, &["status", "availableReplicas"])),
        age,
        names,
        images,
        label_selector(object, &["spec", "selector"], ""),
    ]
}

pub(super) fn replica_set(object: &Value, age: Value) -> Vec<Value> {
    let [names, images] = containers(object, CONTAINERS);
    vec![
        name(object),
        json!(count(object, &["spec", "replicas"])),
        json!(count(object, &["status", "replicas"])),
        json!(count(object, &["status", "readyReplicas"])),
        age,
        names,
        images,
        label_selector(object, &["spec", "selector"], NONE),
    ]
}

pub(super) fn controller_revision(object: &Value, age: Value) -> Vec<Value> {
    let owner = meta::items(object, &["metadata", "ownerReferences"])
        .iter()
        .find(|owner| owner.get("controller") == Some(&Value::Bool(true)));
    let owner = owner.map_or_else(
        || NONE.to_owned(),
        |owner| {
            let kind = meta::text(owner, &["kind"]).to_lowercase();
            let group = meta::text(owner, &["apiVersion"]).split_once('/').map_or("", |(group, _)| group);
            let dot = if group.is_empty() { "" } else { "." };
            format!("{kind}{dot}{group}/{}", meta::text(owner, &["name"]))
        },
    );
    vec![name(object), json!(owner), json!(count(object, &["revision"])), age]
}
