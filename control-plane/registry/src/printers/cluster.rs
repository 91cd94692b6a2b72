//! Bindings, Lease, PriorityClass, RuntimeClass, StorageClass.

use super::text::{count, name, or};
use crate::meta;
use serde_json::{Value, json};

pub(super) fn binding(object: &Value, age: Value) -> Vec<Value> {
    let role =
        format!("{}/{}", meta::text(object, &["roleRef", "kind"]), meta::text(object, &["roleRef", "name"]));
    let subjects = |kind: &str| {
        let all: Vec<String> = meta::items(object, &["subjects"])
            .iter()
            .filter(|subject| meta::text(subject, &["kind"]) == kind)
            .map(|subject| match kind {
                "ServiceAccount" => {
                    format!("{}/{}", meta::text(subject, &["namespace"]), meta::text(subject, &["name"]))
                }
                _ => meta::text(subject, &["name"]).to_owned(),
            })
            .collect();
        json!(all.join(", "))
    };
    vec![name(object), json!(role), age, subjects("User"), subjects("Group"), subjects("ServiceAccount")]
}

pub(super) fn lease(object: &Value, age: Value) -> Vec<Value> {
    vec![name(object), json!(meta::text(object, &["spec", "holderIdentity"])), age]
}

pub(super) fn priority_class(object: &Value, age: Value) -> Vec<Value> {
    vec![
        name(object),
        json!(count(object, &["value"])),
        json!(object.get("globalDefault") == Some(&Value::Bool(true))),
        age,
        json!(meta::text(object, &["preemptionPolicy"])),
    ]
}

pub(super) fn runtime_class(object: &Value, age: Value) -> Vec<Value> {
    vec![name(object), json!(meta::text(object, &["handler"])), age]
}

pub(super) fn storage_class(object: &Value, age: Value) -> Vec<Value> {
    let marked =
        ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"]
            .into_iter()
            .any(|key| meta::text(object, &["metadata", "annotations", key]) == "true");
    let suffix = if marked { " (default)" } else { "" };
    vec![
        json!(format!("{}{suffix}", meta::field(object, "name"))),
        json!(meta::text(object, &["provisioner"])),
        or(meta::text(object, &["reclaimPolicy"]), "Delete"),
        or(meta::text(object, &["volumeBindingMode"]), "Immediate"),
        json!(object.get("allowVolumeExpansion") == Some(&Value::Bool(true))),
        age,
    ]
}
