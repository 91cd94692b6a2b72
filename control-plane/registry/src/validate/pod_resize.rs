//! What may change by pods/resize: requests and limits of cpu and memory, and nothing that makes the pod another one.
//!
//! Rules: upstream's `ValidatePodResize`.

use super::{Errors, ephemeral::MIRROR, pod, resources::quantity};
use crate::meta;
use keelson_schema::{FieldError, Path};
use keelson_semantics::PodResources;
use serde::Deserialize;
use serde_json::Value;

/// What can be given and taken while a container runs.
const RESIZABLE: [&str; 2] = ["cpu", "memory"];
const ONLY: &str = "only cpu and memory resources are mutable";

/// All that is wrong with a write of pods/resize.
pub fn update(new: &Value, old: &Value) -> Errors {
    if meta::at(old, &["metadata", "annotations", MIRROR]).is_some() {
        return vec![FieldError::forbidden(&Path::new(""), "static pods cannot be resized")];
    }
    if meta::text(old, &["spec", "os", "name"]) == "windows" {
        return vec![FieldError::forbidden(&Path::new(""), "windows pods cannot be resized")];
    }
    let path = Path::new("spec");
    let (after, before) = (&new["spec"], &old["spec"]);
    let mut errors = pod::spec(&path, after);
    errors.extend(quality(&path, after, old));
    if is_on_a_node_that_cannot(old) {
        errors.push(FieldError::forbidden(&path, "Pod running on node without support for resize"));
    }
    if [after, before].iter().any(|spec| meta::entries(spec, &["resources"]).next().is_some()) {
        errors.push(FieldError::forbidden(&path, "pods with pod-level resources cannot be resized"));
    }
    let moved = moved(&path, after, before);
    if !moved.is_empty() {
        errors.extend(moved);
        return errors;
    }
    for list in ["containers", "initContainers"] {
        let pairs = meta::items(after, &[list]).iter().zip(meta::items(before, &[list]));
        for (index, (after, before)) in pairs.enumerate() {
            errors.extend(container(&path.child(list).index(index), list, after, before));
        }
    }
    errors
}

fn quality(path: &Path, after: &Value, old: &Value) -> Option<FieldError> {
    let class = |spec: &Value| PodResources::deserialize(spec).ok().map(|spec| spec.qos_class().as_str());
    let now = class(after)?;
    let told = meta::text(old, &["status", "qosClass"]);
    let was = if told.is_empty() { class(&old["spec"])? } else { told };
    let detail = "Pod QOS Class may not change as a result of resizing";
    (now != was).then(|| FieldError::invalid(path, was, detail))
}

/// A node that can resize tells what running containers have.
fn is_on_a_node_that_cannot(old: &Value) -> bool {
    let all = meta::items(old, &["status", "containerStatuses"]).iter();
    let mut running = all.filter(|status| meta::at(status, &["state", "running"]).is_some());
    running.next().is_some_and(|status| meta::at(status, &["resources"]).is_none())
}

/// Containers stay what they are, and where.
fn moved(path: &Path, after: &Value, before: &Value) -> Errors {
    let mut errors = Errors::new();
    for list in ["containers", "initContainers"] {
        let (now, then) = (meta::items(after, &[list]), meta::items(before, &[list]));
        if now.len() != then.len() {
            let detail = format!("{list} may not be added or removed on resize");
            errors.push(FieldError::forbidden(&path.child(list), detail));
            continue;
        }
        for (index, (now, then)) in now.iter().zip(then).enumerate() {
            if now["name"] != then["name"] {
                let path = path.child(list).index(index).child("name");
                let detail = format!("{list} may not be renamed or reordered on resize");
                errors.push(FieldError::forbidden(&path, detail));
            }
        }
    }
    errors
}

fn container(path: &Path, list: &str, after: &Value, before: &Value) -> Errors {
    let mut errors = Errors::new();
    for (part, detail) in
        [("requests", "resource requests cannot be removed"), ("limits", "resource limits cannot be removed")]
    {
        let kept = |name: &str| meta::at(after, &["resources", part, name]).is_some();
        if !meta::entries(before, &["resources", part]).all(|(name, _)| kept(name)) {
            errors.push(FieldError::forbidden(&path.child("resources").child(part), detail));
        }
    }
    let same = shape(after) == shape(before);
    let resized = amounts(after) != amounts(before);
    let sidecar = meta::text(before, &["restartPolicy"]) == "Always";
    if list == "initContainers" && !sidecar {
        if resized || !same {
            let detail = "resources for non-sidecar init containers are immutable";
            errors.push(FieldError::forbidden(&path.child("resources"), detail));
        }
    } else if !same {
        errors.push(FieldError::forbidden(&Path::new("spec"), ONLY));
    }
    errors
}

/// The container without what may change; what is empty is as if absent.
fn shape(container: &Value) -> Value {
    let mut shape = container.clone();
    for part in ["requests", "limits"] {
        let list = shape.pointer_mut(&format!("/resources/{part}")).and_then(Value::as_object_mut);
        if let Some(list) = list {
            list.retain(|name, _| !RESIZABLE.contains(&name.as_str()));
        }
    }
    without_empty(&mut shape);
    shape
}

fn without_empty(value: &mut Value) {
    let Some(fields) = value.as_object_mut() else { return };
    fields.retain(|_, field| {
        without_empty(field);
        match field {
            Value::Null => false,
            Value::Object(fields) => !fields.is_empty(),
            Value::Array(items) => !items.is_empty(),
            _ => true,
        }
    });
}

fn amounts(container: &Value) -> Vec<Option<keelson_semantics::Quantity>> {
    let places = ["requests", "limits"].into_iter().flat_map(|part| RESIZABLE.map(|name| (part, name)));
    places.map(|(part, name)| meta::at(container, &["resources", part, name]).and_then(quantity)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn amounts_of(cpu: &str, memory: &str) -> Value {
        json!({"cpu": cpu, "memory": memory})
    }

    fn pod(resources: Value) -> Value {
        json!({
            "metadata": {"name": "p"},
            "spec": {
                "containers": [
                    {"name": "a", "image": "i", "resources": resources},
                    {"name": "b", "image": "i", "resources": {"requests": {"cpu": "1", "ephemeral-storage": "1Gi"}}},
                ],
                "initContainers": [
                    {"name": "first", "image": "i", "resources": {"requests": {"cpu": "1"}}},
                    {"name": "side", "image": "i", "restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}},
                ],
            },
            "status": {"qosClass": "Burstable"},
        })
    }

    #[test]
    fn only_amounts_change_and_the_pod_stays_what_it_is() {
        let old = pod(json!({"requests": amounts_of("1", "1Gi"), "limits": amounts_of("2", "2Gi")}));
        let with = |pointer: &str, value: Value| {
            let mut new = old.clone();
            *new.pointer_mut(pointer).expect("it is there") = value;
            new
        };
        let a = "/spec/containers/0/resources";
        let rows = [
            (old.clone(), ""),
            (with(a, json!({"requests": amounts_of("500m", "3Gi"), "limits": amounts_of("4", "4Gi")})), ""),
            (with(a, json!({"requests": amounts_of("500m", "1Mi"), "limits": amounts_of("1", "1Mi")})), ""),
            (with("/spec/initContainers/1/resources", json!({"requests": {"cpu": "2"}})), ""),
            (
                with(
                    "/spec/containers/1/resources",
                    json!({"requests": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi"}}),
                ),
                "",
            ),
            (
                with(a, json!({"requests": amounts_of("3", "1Gi"), "limits": amounts_of("2", "2Gi")})),
                "spec.containers[0].resources.requests: Invalid value: \"3\": must be less than or equal to cpu limit of 2",
            ),
            (
                with(a, json!({"requests": amounts_of("1", "1Gi"), "limits": {"cpu": "2"}})),
                "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed",
            ),
            (
                with(a, json!({"limits": amounts_of("2", "2Gi")})),
                "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed",
            ),
            (
                with(
                    "/spec/containers/1/resources",
                    json!({"requests": {"cpu": "1", "ephemeral-storage": "2Gi"}}),
                ),
                "spec: Forbidden: only cpu and memory resources are mutable",
            ),
            (
                with("/spec/initContainers/0/resources", json!({"requests": {"cpu": "2"}})),
                "spec.initContainers[0].resources: Forbidden: resources for non-sidecar init containers are immutable",
            ),
            (
                with("/spec/containers/0/name", json!("c")),
                "spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize",
            ),
            (
                with("/spec/containers", json!([old["spec"]["containers"][0]])),
                "containers may not be added or removed on resize",
            ),
            (with("/metadata", json!({"name": "p", "annotations": {}})), ""),
        ];
        for (new, expected) in rows {
            let found: Vec<String> = update(&new, &old).iter().map(ToString::to_string).collect();
            match expected {
                "" => assert!(found.is_empty(), "{new}: {found:?}"),
                part => assert!(found.iter().any(|text| text.contains(part)), "{part}: {found:?}"),
            }
        }
    }

    #[test]
    fn the_quality_of_service_stays_and_the_node_must_be_able() {
        let small = || json!({"requests": amounts_of("1", "1Gi"), "limits": amounts_of("1", "1Gi")});
        let mut old = pod(small());
        old["spec"]["initContainers"] = json!([]);
        old["spec"]["containers"] = json!([old["spec"]["containers"][0]]);
        old["status"]["qosClass"] = json!("Guaranteed");
        let mut new = old.clone();
        new["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("500m");
        let text =
            "spec: Invalid value: \"Guaranteed\": Pod QOS Class may not change as a result of resizing";
        assert!(update(&new, &old).iter().any(|error| error.to_string() == text));
        old["status"]["containerStatuses"] = json!([{"name": "a", "state": {"running": {}}}]);
        let text = "Pod running on node without support for resize";
        assert!(update(&old, &old).iter().any(|error| error.to_string().contains(text)));
        old["status"]["containerStatuses"][0]["resources"] = small();
        assert!(update(&old, &old).is_empty());
        old["metadata"]["annotations"] = json!({MIRROR: "x"});
        assert!(update(&old, &old)[0].to_string().contains("static pods cannot be resized"));
    }
}
