//! The core group, less pods and Services.

use serde_json::{Map, Value, json};

use super::{Hook, ensure_object, labels_from_template, object_in, set_default, text};

pub(super) fn hook(definition: &str) -> Option<Hook> {
    match definition {
        "api.core.v1.Namespace" => Some(namespace),
        "api.core.v1.Node" => Some(node),
        "api.core.v1.Secret" => Some(secret),
        "api.core.v1.LimitRangeItem" => Some(limit_range_item),
        "api.core.v1.PersistentVolume" | "api.core.v1.PersistentVolumeClaim" => Some(with_status),
        "api.core.v1.RBDPersistentVolumeSource" => Some(rbd),
        "api.core.v1.ScaleIOPersistentVolumeSource" => Some(scale_io),
        "api.core.v1.ReplicationController" => Some(replication_controller),
        _ => None,
    }
}

/// The name is also a label, always.
fn namespace(namespace: &mut Map<String, Value>) {
    with_status(namespace);
    let Some(metadata) = object_in(namespace, "metadata") else { return };
    let name = text(metadata, "name").to_owned();
    if !name.is_empty()
        && let Some(labels) = ensure_object(metadata, "labels")
    {
        labels.insert("kubernetes.io/metadata.name".into(), name.into());
    }
}

/// The status has plain defaults of its own, so it has to be there.
fn with_status(object: &mut Map<String, Value>) {
    ensure_object(object, "status");
}

fn node(node: &mut Map<String, Value>) {
    if let Some(status) = object_in(node, "status")
        && let Some(capacity) = status.get("capacity").cloned()
    {
        set_default(status, "allocatable", capacity);
    }
}

/// `stringData` is for writing only: it goes over `data`, encoded.
fn secret(secret: &mut Map<String, Value>) {
    use base64::Engine;
    let Some(Value::Object(texts)) = secret.remove("stringData") else { return };
    if let Some(data) = ensure_object(secret, "data") {
        for (key, value) in texts {
            let encoded =
                base64::engine::general_purpose::STANDARD.encode(value.as_str().unwrap_or_default());
            data.insert(key, encoded.into());
        }
    }
}

/// For containers: the default is the maximum, the default request is the default, else the minimum.
fn limit_range_item(item: &mut Map<String, Value>) {
    if text(item, "type") != "Container" {
        return;
    }
    for (target, source) in [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")] {
        let Some(amounts) = item.get(source).and_then(Value::as_object).cloned() else { continue };
        if let Some(target) = ensure_object(item, target) {
            for (name, amount) in amounts {
                target.entry(name).or_insert(amount);
            }
        }
    }
}

fn rbd(source: &mut Map<String, Value>) {
    for (key, value) in [("pool", "rbd"), ("user", "admin"), ("keyring", "/etc/ceph/keyring")] {
        set_default(source, key, value);
    }
}

fn scale_io(source: &mut Map<String, Value>) {
    set_default(source, "storageMode", "ThinProvisioned");
    set_default(source, "fsType", "xfs");
}

fn replication_controller(controller: &mut Map<String, Value>) {
    labels_from_template(controller, &["spec", "selector"]);
    labels_from_template(controller, &["metadata", "labels"]);
    if let Some(spec) = object_in(controller, "spec")
        && spec.get("selector") == Some(&json!({}))
    {
        spec.remove("selector");
    }
}
