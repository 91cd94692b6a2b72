//! PersistentVolumes: one source, a size, where it can be reached from.
//!
//! Rules: upstream's `ValidatePersistentVolumeSpec` and `ValidatePersistentVolumeUpdate`; of the sources, those that
//! clusters still make by hand (hostPath, local, nfs, csi), the others are only checked for their number.

use super::{
    Errors, claim,
    csi::driver_name,
    meta::{immutable, invalid},
    one_of, pod, required, volume,
};
use crate::meta;
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use serde_json::Value;

/// What a spec holds beside its source.
const SETTINGS: &[&str] = &[
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];

/// A PersistentVolume's spec.
pub fn persistent_volume(spec: &Value) -> Errors {
    let path = Path::new("spec");
    let mut errors = claim::access_modes(&path.child("accessModes"), spec);
    errors.extend(capacity(&path.child("capacity"), spec));
    let policies = ["Delete", "Recycle", "Retain"];
    errors.extend(one_of(&path, spec, "persistentVolumeReclaimPolicy", &policies));
    errors.extend(affinity(&path.child("nodeAffinity"), spec));
    errors.extend(source(&path, spec));
    let is_root = meta::text(spec, &["hostPath", "path"]).trim_end_matches('/').is_empty();
    if meta::at(spec, &["hostPath"]).is_some()
        && is_root
        && meta::text(spec, &["persistentVolumeReclaimPolicy"]) == "Recycle"
    {
        let detail = "may not be 'recycle' for a hostPath mount of '/'";
        errors.push(FieldError::forbidden(&path.child("persistentVolumeReclaimPolicy"), detail));
    }
    let class = meta::text(spec, &["storageClassName"]);
    if !class.is_empty() {
        errors.extend(invalid(&path.child("storageClassName"), class, names::dns1123_subdomain(class)));
    }
    errors.extend(one_of(&path, spec, "volumeMode", &["Block", "Filesystem"]));
    if let Some(class) = meta::at(spec, &["volumeAttributesClassName"]).and_then(Value::as_str) {
        let own = path.child("volumeAttributesClassName");
        errors.extend(invalid(&own, class, names::dns1123_subdomain(class)));
        if meta::at(spec, &["csi"]).is_none() {
            let detail = "has to be specified when using volumeAttributesClassName";
            errors.push(FieldError::required(&path.child("csi"), detail));
        }
    }
    errors
}

/// A change of a PersistentVolume's spec.
pub fn persistent_volume_update(new: &Value, old: &Value) -> Errors {
    let path = Path::new("spec");
    let mut errors = persistent_volume(new);
    let source = |spec: &Value| {
        let mut spec = spec.clone();
        SETTINGS.iter().for_each(|key| drop(meta::map_of(&mut spec).remove(*key)));
        // The secrets by which a volume is made larger may come later.
        if let Some(csi) = spec.get_mut("csi") {
            for key in ["controllerExpandSecretRef", "nodeExpandSecretRef"] {
                meta::map_of(csi).remove(key);
            }
        }
        spec
    };
    if source(new) != source(old) {
        let detail = "spec.persistentvolumesource is immutable after creation";
        errors.push(FieldError::forbidden(&path.child("persistentvolumesource"), detail));
    }
    errors.extend(immutable(&path.child("volumeMode"), new.get("volumeMode"), old.get("volumeMode")));
    if let Some(before) = meta::at(old, &["nodeAffinity"]) {
        errors.extend(immutable(&path.child("nodeAffinity"), new.get("nodeAffinity"), Some(before)));
    }
    errors
}

fn capacity(path: &Path, spec: &Value) -> Errors {
    let amounts: Vec<_> = meta::entries(spec, &["capacity"]).collect();
    let mut errors = Errors::new();
    if amounts.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    if amounts.len() > 1 || amounts.iter().any(|(name, _)| *name != "storage") {
        errors.push(FieldError::not_supported(path, spec["capacity"].clone(), &["storage"]));
    }
    for (name, amount) in amounts {
        errors.extend(claim::positive(&path.key(name), amount));
    }
    errors
}

fn affinity(path: &Path, spec: &Value) -> Errors {
    let Some(affinity) = meta::at(spec, &["nodeAffinity"]) else { return Errors::new() };
    match meta::at(affinity, &["required"]) {
        None => vec![FieldError::required(&path.child("required"), "must specify required node constraints")],
        Some(selector) => pod::node_selector(&path.child("required"), selector),
    }
}

fn source(path: &Path, spec: &Value) -> Errors {
    let given: Vec<&str> = spec
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, value)| !SETTINGS.contains(&key.as_str()) && !value.is_null())
        .map(|(key, _)| key.as_str())
        .collect();
    let Some(first) = given.first() else {
        return vec![FieldError::required(path, "must specify a volume type")];
    };
    let mut errors = Errors::new();
    for extra in given.iter().skip(1) {
        errors.push(FieldError::forbidden(&path.child(extra), "may not specify more than 1 volume type"));
    }
    let (own, source) = (path.child(first), &spec[*first]);
    match *first {
        "hostPath" => errors.extend(volume::host_path(&own, source)),
        "local" => {
            errors.extend(required(&own, source, "path"));
            let at = meta::text(source, &["path"]);
            if at.split('/').any(|part| part == "..") {
                errors.push(FieldError::invalid(&own.child("path"), at, "must not contain '..'"));
            }
            if meta::at(spec, &["nodeAffinity"]).is_none() {
                let detail = "Local volume requires node affinity";
                errors.push(FieldError::required(&Path::new("metadata.annotations"), detail));
            }
        }
        "nfs" => {
            errors.extend(required(&own, source, "server"));
            errors.extend(required(&own, source, "path"));
            let at = meta::text(source, &["path"]);
            if !at.is_empty() && !at.starts_with('/') {
                errors.push(FieldError::invalid(&own.child("path"), at, "must be an absolute path"));
            }
        }
        "csi" => {
            errors.extend(driver_name(&own.child("driver"), meta::text(source, &["driver"])));
            errors.extend(required(&own, source, "volumeHandle"));
        }
        _ => {}
    }
    errors
}
