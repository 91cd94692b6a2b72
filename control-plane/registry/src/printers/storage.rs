//! PersistentVolume, and the kinds of storage.k8s.io.

use super::{
    core::access_modes,
    text::{NONE, name, or, set},
};
use crate::meta;
use serde_json::{Value, json};

/// Cells of a kind of storage.k8s.io.
pub(super) fn cells(plural: &str, object: &Value, age: Value) -> Vec<Value> {
    match plural {
        "csidrivers" => csi_driver(object, age),
        "csinodes" => vec![name(object), json!(meta::items(object, &["spec", "drivers"]).len()), age],
        "csistoragecapacities" => vec![
            name(object),
            json!(meta::text(object, &["storageClassName"])),
            or(meta::text(object, &["capacity"]), "<unset>"),
        ],
        "storageclasses" => storage_class(object, age),
        "volumeattachments" => vec![
            name(object),
            json!(meta::text(object, &["spec", "attacher"])),
            json!(meta::text(object, &["spec", "source", "persistentVolumeName"])),
            json!(meta::text(object, &["spec", "nodeName"])),
            json!(is_set(object, &["status", "attached"], false)),
            age,
        ],
        _ => vec![
            marked(object, &["volumeattributesclass.alpha.kubernetes.io/is-default-class"]),
            json!(meta::text(object, &["driverName"])),
            age,
        ],
    }
}

fn is_set(object: &Value, path: &[&str], unset: bool) -> bool {
    meta::at(object, path).and_then(Value::as_bool).unwrap_or(unset)
}

fn csi_driver(object: &Value, age: Value) -> Vec<Value> {
    let words = |key: &str, part: Option<&str>| {
        let all: Vec<&str> = meta::items(object, &["spec", key])
            .iter()
            .map(|item| {
                part.map_or_else(|| item.as_str().unwrap_or_default(), |part| meta::text(item, &[part]))
            })
            .collect();
        all.join(",")
    };
    vec![
        name(object),
        json!(is_set(object, &["spec", "attachRequired"], true)),
        json!(is_set(object, &["spec", "podInfoOnMount"], false)),
        json!(is_set(object, &["spec", "storageCapacity"], false)),
        or(&words("tokenRequests", Some("audience")), "<unset>"),
        json!(is_set(object, &["spec", "requiresRepublish"], false)),
        or(&words("volumeLifecycleModes", None), NONE),
        age,
    ]
}

pub(super) fn volume(object: &Value, age: Value) -> Vec<Value> {
    let spec = |key: &str| meta::text(object, &["spec", key]);
    let legacy = meta::text(object, &["metadata", "annotations", "volume.beta.kubernetes.io/storage-class"]);
    let phase = if meta::deleting(object) { "Terminating" } else { meta::text(object, &["status", "phase"]) };
    let claim = meta::at(object, &["spec", "claimRef"]).map_or_else(String::new, |claim| {
        format!("{}/{}", meta::text(claim, &["namespace"]), meta::text(claim, &["name"]))
    });
    vec![
        name(object),
        or(meta::text(object, &["spec", "capacity", "storage"]), "0"),
        json!(access_modes(object, "spec")),
        json!(spec("persistentVolumeReclaimPolicy")),
        json!(phase),
        json!(claim),
        json!(if legacy.is_empty() { spec("storageClassName") } else { legacy }),
        set(object, &["spec", "volumeAttributesClassName"]),
        json!(meta::text(object, &["status", "reason"])),
        age,
        or(spec("volumeMode"), "<unset>"),
    ]
}

/// The name, and whether one of these annotations makes it the default.
fn marked(object: &Value, annotations: &[&str]) -> Value {
    let is = |key: &&str| meta::text(object, &["metadata", "annotations", *key]) == "true";
    let suffix = if annotations.iter().any(is) { " (default)" } else { "" };
    json!(format!("{}{suffix}", meta::field(object, "name")))
}

fn storage_class(object: &Value, age: Value) -> Vec<Value> {
    const DEFAULT: &[&str] =
        &["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
    vec![
        marked(object, DEFAULT),
        json!(meta::text(object, &["provisioner"])),
        or(meta::text(object, &["reclaimPolicy"]), "Delete"),
        or(meta::text(object, &["volumeBindingMode"]), "Immediate"),
        json!(object.get("allowVolumeExpansion") == Some(&Value::Bool(true))),
        age,
    ]
}
