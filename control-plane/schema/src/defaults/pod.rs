//! Pods and the pod templates of all workloads.

use std::collections::BTreeSet;

use keelson_semantics::{PodResources, ResourceList};
use serde_json::{Map, Value};

use super::{Hook, ensure_object, object_in, objects_in, set_default, text};

pub(super) fn hook(definition: &str) -> Option<Hook> {
    match definition {
        "api.core.v1.Pod" => Some(pod),
        "api.core.v1.PodSpec" => Some(pod_spec),
        "api.core.v1.Container" | "api.core.v1.EphemeralContainer" => Some(container),
        "api.core.v1.Volume" => Some(volume),
        "api.core.v1.ImageVolumeSource" => Some(image_volume),
        _ => None,
    }
}

/// What holds in Pod objects only, not in templates.
fn pod(pod: &mut Map<String, Value>) {
    let Some(spec) = object_in(pod, "spec") else { return };
    set_default(spec, "enableServiceLinks", true);
    let host_network = spec.get("hostNetwork").and_then(Value::as_bool) == Some(true);
    for list in ["containers", "initContainers"] {
        for container in objects_in(spec, list) {
            if let Some(resources) = object_in(container, "resources") {
                requests_from_limits(resources);
            }
            if host_network {
                objects_in(container, "ports").for_each(host_port);
            }
        }
    }
    pod_level_resources(spec);
}

fn requests_from_limits(resources: &mut Map<String, Value>) {
    let Some(limits) = resources.get("limits").and_then(Value::as_object).filter(|l| !l.is_empty()).cloned()
    else {
        return;
    };
    if let Some(requests) = ensure_object(resources, "requests") {
        for (name, limit) in limits {
            requests.entry(name).or_insert(limit);
        }
    }
}

fn host_port(port: &mut Map<String, Value>) {
    let unset = port.get("hostPort").is_none_or(|p| p.as_i64() == Some(0));
    if let Some(number) = port.get("containerPort").filter(|_| unset).cloned() {
        port.insert("hostPort".into(), number);
    }
}

/// `spec.resources`: requests follow the containers' or the limits; huge page limits follow the containers'.
fn pod_level_resources(spec: &mut Map<String, Value>) {
    if !spec.get("resources").is_some_and(Value::is_object) {
        return;
    }
    let Ok(mut containers) = serde_json::from_value::<PodResources>(Value::Object(spec.clone())) else {
        return;
    };
    containers.overhead.clear();
    let Some(pod_level) = containers.resources.take() else { return };
    if pod_level.limits.is_empty() && pod_level.requests.is_empty() {
        return;
    }
    let (sum_requests, sum_limits) = (containers.requests(), containers.limits());
    let mut limits: ResourceList = pod_level.limits.clone();
    let mut requests: ResourceList = pod_level.requests.clone();
    for (name, sum) in &sum_limits {
        if name.starts_with("hugepages-") && !requests.contains_key(name) {
            limits.entry(name.clone()).or_insert(*sum);
        }
    }
    let named: BTreeSet<&String> = pod_level.limits.keys().collect();
    for (name, limit) in &limits {
        let request = match name.as_str() {
            "cpu" | "memory" if named.contains(name) => sum_requests.get(name).unwrap_or(limit),
            name if name.starts_with("hugepages-") => limit,
            _ => continue,
        };
        requests.entry(name.clone()).or_insert(*request);
    }
    if let Some(resources) = object_in(spec, "resources") {
        for (key, list) in [("limits", limits), ("requests", requests)] {
            if !list.is_empty() {
                let list = list.into_iter().map(|(name, q)| (name, q.to_string().into())).collect();
                resources.insert(key.into(), Value::Object(list));
            }
        }
    }
}

/// The deprecated twin of serviceAccountName.
fn pod_spec(spec: &mut Map<String, Value>) {
    match (text(spec, "serviceAccountName"), text(spec, "serviceAccount")) {
        ("", "") => {}
        ("", old) => {
            let old = old.to_owned();
            spec.insert("serviceAccountName".into(), old.into());
        }
        (name, _) => {
            let name = name.to_owned();
            spec.insert("serviceAccount".into(), name.into());
        }
    }
}

fn container(container: &mut Map<String, Value>) {
    let policy = pull_policy(text(container, "image"));
    set_default(container, "imagePullPolicy", policy);
}

fn image_volume(source: &mut Map<String, Value>) {
    let reference = text(source, "reference");
    if !reference.is_empty() {
        let policy = pull_policy(reference);
        set_default(source, "pullPolicy", policy);
    }
}

/// Always for the tag `latest`, also when it is implied; else IfNotPresent.
fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let last = name.rsplit('/').next().unwrap_or_default();
    match (last.split_once(':'), digest) {
        (Some((_, "latest")), _) => "Always",
        (None, None) if !last.is_empty() => "Always",
        _ => "IfNotPresent",
    }
}

/// A volume without any source is an emptyDir.
fn volume(volume: &mut Map<String, Value>) {
    if volume.keys().all(|key| key == "name") {
        volume.insert("emptyDir".into(), Value::Object(Map::new()));
    }
}

#[cfg(test)]
mod tests {
    use super::pull_policy;

    #[test]
    fn only_latest_is_always_pulled() {
        for (image, expected) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("registry:5000/nginx", "Always"),
            ("registry:5000/nginx:latest", "Always"),
            ("nginx:latest@sha256:aa", "Always"),
            ("nginx:1.2", "IfNotPresent"),
            ("registry:5000/a/nginx:1.2", "IfNotPresent"),
            ("nginx@sha256:aa", "IfNotPresent"),
            ("", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), expected, "{image}");
        }
    }
}
