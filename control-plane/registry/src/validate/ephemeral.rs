//! Ephemeral containers: what they may say, and that they only come, never go or change.
//!
//! Rules: upstream's `validateEphemeralContainers` and `ValidatePodEphemeralContainersUpdate`.

use super::{Errors, container, container::Scope, pod, pod_update::differences};
use crate::meta;
use keelson_schema::{FieldError, Path};
use serde_json::Value;
use std::collections::BTreeSet;

/// The annotation of a pod that stands for a file on its node.
pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";
const NOT_SET: &str = "cannot be set for an Ephemeral Container";
/// What makes a container part of what the pod does.
const FORBIDDEN: [&str; 9] = [
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

/// spec.ephemeralContainers; `scope` knows the names of all other containers.
pub fn containers<'a>(path: &Path, spec: &'a Value, scope: &mut Scope<'a>) -> Errors {
    let mut errors = Errors::new();
    let others: BTreeSet<&str> = scope.names.clone();
    for (index, container) in meta::items(spec, &["ephemeralContainers"]).iter().enumerate() {
        let path = path.index(index);
        errors.extend(container::common(&path, container, scope));
        let target = meta::text(container, &["targetContainerName"]);
        if !target.is_empty() && !others.contains(target) {
            errors.push(FieldError::not_found(&path.child("targetContainerName"), target));
        }
        for key in FORBIDDEN {
            if meta::at(container, &[key]).is_some_and(|value| !is_empty(value)) {
                errors.push(FieldError::forbidden(&path.child(key), NOT_SET));
            }
        }
        for (index, mount) in meta::items(container, &["volumeMounts"]).iter().enumerate() {
            for key in ["subPath", "subPathExpr"] {
                if !meta::text(mount, &[key]).is_empty() {
                    let path = path.child("volumeMounts").index(index).child(key);
                    errors.push(FieldError::forbidden(&path, NOT_SET));
                }
            }
        }
    }
    errors
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// All that is wrong with a write of pods/ephemeralcontainers. Patches do not keep the order: by name.
pub fn update(new: &Value, old: &Value) -> Errors {
    if meta::at(old, &["metadata", "annotations", MIRROR]).is_some() {
        return vec![FieldError::forbidden(
            &Path::new(""),
            "static pods do not support ephemeral containers",
        )];
    }
    let mut errors = pod::spec(&Path::new("spec"), &new["spec"]);
    let path = Path::new("spec.ephemeralContainers");
    let now = meta::items(new, &["spec", "ephemeralContainers"]);
    for before in meta::items(old, &["spec", "ephemeralContainers"]) {
        let name = meta::text(before, &["name"]);
        let Some(after) = now.iter().find(|one| meta::text(one, &["name"]) == name) else {
            let detail = format!("existing ephemeral containers {name:?} may not be removed\n");
            errors.push(FieldError::forbidden(&path, detail));
            continue;
        };
        let mut changed = Vec::new();
        differences("", after, before, &mut changed);
        if !changed.is_empty() {
            let fields: Vec<&str> = changed.iter().map(|field| field.trim_start_matches('.')).collect();
            let detail = format!(
                "existing ephemeral containers {name:?} may not be changed\nchanged: {}\n",
                fields.join(", ")
            );
            errors.push(FieldError::forbidden(&path, detail));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(ephemeral: Value) -> Value {
        json!({"metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "app", "image": "i"}], "initContainers": [{"name": "first", "image": "i"}],
            "volumes": [{"name": "v", "emptyDir": {}}], "ephemeralContainers": ephemeral,
        }})
    }

    #[test]
    fn they_are_refused_in_upstreams_words() {
        let old = pod(json!([{"name": "old", "image": "i"}]));
        let with = |more: Value| {
            let mut one = json!({"name": "new", "image": "i"});
            one.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            json!([{"name": "old", "image": "i"}, one])
        };
        let place = "spec.ephemeralContainers[1].";
        let rows = [
            (with(json!({})), ""),
            (with(json!({"targetContainerName": "app", "tty": true, "resources": {}, "ports": []})), ""),
            (with(json!({"targetContainerName": "first"})), ""),
            (with(json!({"targetContainerName": "old"})), "targetContainerName: Not found: \"old\""),
            (with(json!({"name": "app"})), "name: Duplicate value: \"app\""),
            (with(json!({"name": "old"})), "name: Duplicate value: \"old\""),
            (
                with(json!({"ports": [{"containerPort": 1}]})),
                "ports: Forbidden: cannot be set for an Ephemeral",
            ),
            (with(json!({"resources": {"limits": {"cpu": "1"}}})), "resources: Forbidden: cannot be set"),
            (with(json!({"restartPolicy": "Always"})), "restartPolicy: Forbidden: cannot be set"),
            (with(json!({"livenessProbe": {"exec": {"command": ["a"]}}})), "livenessProbe: Forbidden"),
            (with(json!({"lifecycle": {"preStop": {"exec": {"command": ["a"]}}}})), "lifecycle: Forbidden"),
            (
                with(json!({"volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "s"}]})),
                "volumeMounts[0].subPath: Forbidden: cannot be set",
            ),
            (
                with(json!({"volumeMounts": [{"name": "w", "mountPath": "/v"}]})),
                "volumeMounts[0].name: Not found: \"w\"",
            ),
        ];
        for (list, expected) in rows {
            let found: Vec<String> =
                update(&pod(list.clone()), &old).iter().map(ToString::to_string).collect();
            match expected {
                "" => assert!(found.is_empty(), "{list}: {found:?}"),
                part => {
                    let part = format!("{place}{part}");
                    assert!(found.iter().any(|text| text.contains(&part)), "{list}: {found:?}");
                }
            }
        }
    }

    #[test]
    fn they_only_come() {
        let old = pod(json!([{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]));
        let rows = [
            (
                json!([{"name": "c", "image": "i"}, {"name": "b", "image": "i"}, {"name": "a", "image": "i"}]),
                None,
            ),
            (
                json!([{"name": "a", "image": "i"}]),
                Some("existing ephemeral containers \"b\" may not be removed"),
            ),
            (
                json!([{"name": "a", "image": "j"}, {"name": "b", "image": "i"}]),
                Some("existing ephemeral containers \"a\" may not be changed\nchanged: image"),
            ),
        ];
        for (list, expected) in rows {
            let found: Vec<String> =
                update(&pod(list.clone()), &old).iter().map(ToString::to_string).collect();
            match expected {
                None => assert!(found.is_empty(), "{list}: {found:?}"),
                Some(part) => assert!(found.iter().any(|text| text.contains(part)), "{list}: {found:?}"),
            }
        }
        let mut mirror = old.clone();
        mirror["metadata"]["annotations"] = json!({MIRROR: "x"});
        let found = update(&mirror, &mirror);
        assert!(
            found[0].to_string().contains("static pods do not support ephemeral containers"),
            "{found:?}"
        );
    }
}
