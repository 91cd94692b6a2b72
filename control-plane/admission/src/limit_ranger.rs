//! LimitRanger: what containers ask for when they do not say, and what containers, pods and claims may ask for at all,
//! by the LimitRanges of their namespace.
//!
//! Rules: upstream's `plugin/pkg/admission/limitranger`.

use async_trait::async_trait;
use keelson_registry::{Attributes, Operation, Status};
use keelson_semantics::{PodResources, Quantity, ResourceList};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::plugin::{Plugin, forbidden, is, list, text};
use crate::{Lookup, Wanted};

/// Where a pod says what it was given.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

pub(crate) struct LimitRanger;

#[async_trait]
impl Plugin for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    /// What a pod asks for changes by its resize alone; a claim that is going is left alone by its old state.
    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        if attributes.subresource == "resize" {
            return is(attributes, "", "pods") && attributes.operation == Operation::Update;
        }
        attributes.subresource.is_empty()
            && match attributes.operation {
                Operation::Create => {
                    is(attributes, "", "pods") || is(attributes, "", "persistentvolumeclaims")
                }
                Operation::Update => {
                    is(attributes, "", "persistentvolumeclaims")
                        && attributes
                            .old
                            .is_none_or(|old| text(old, "/metadata/deletionTimestamp").is_empty())
                }
                _ => false,
            }
    }

    async fn mutate(
        &self,
        attributes: &Attributes<'_>,
        object: &mut Value,
        lookup: &dyn Lookup,
    ) -> Result<(), Status> {
        if !is(attributes, "", "pods") {
            return Ok(());
        }
        for range in lookup.list(Wanted::LimitRange, attributes.namespace).await? {
            give(object, &range);
        }
        Ok(())
    }

    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        lookup: &dyn Lookup,
    ) -> Result<(), Status> {
        let Some(object) = object else { return Ok(()) };
        for range in lookup.list(Wanted::LimitRange, attributes.namespace).await? {
            let wrong = if is(attributes, "", "pods") { pod(object, &range) } else { claim(object, &range) };
            let why = match wrong.as_slice() {
                [] => continue,
                [one] => one.clone(),
                more => format!("[{}]", more.join(", ")),
            };
            return Err(forbidden(attributes, Some(object), why));
        }
        Ok(())
    }
}

/// Fills in what the containers do not say, and notes it in an annotation.
fn give(pod: &mut Value, range: &Value) {
    let mut defaults = [("default", "limits", Map::new()), ("defaultRequest", "requests", Map::new())];
    for limit in list(range, "/spec/limits").filter(|limit| limit["type"] == "Container") {
        for (source, _, amounts) in &mut defaults {
            amounts.extend(limit[*source].as_object().cloned().unwrap_or_default());
        }
    }
    let mut notes = Vec::new();
    for (key, word) in [("containers", "container"), ("initContainers", "init container")] {
        let containers = pod.pointer_mut(&format!("/spec/{key}")).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let name = text(container, "/name").to_owned();
            // Requests are named before limits.
            for (part, kind) in [(&defaults[1], "request"), (&defaults[0], "limit")] {
                let given = fill(container, part.1, &part.2);
                if !given.is_empty() {
                    notes.push(format!("{} {kind} for {word} {name}", given.join(", ")));
                }
            }
        }
    }
    if notes.is_empty() {
        return;
    }
    let note = format!("LimitRanger plugin set: {}", notes.join("; "));
    if let Some(metadata) = pod.get_mut("metadata").and_then(Value::as_object_mut) {
        let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.insert(ANNOTATION.to_owned(), json!(note));
        }
    }
}

/// The names of what was not there, sorted.
fn fill(container: &mut Value, part: &str, defaults: &Map<String, Value>) -> Vec<String> {
    let Some(container) = container.as_object_mut().filter(|_| !defaults.is_empty()) else {
        return Vec::new();
    };
    let resources = container.entry("resources").or_insert_with(|| json!({}));
    let Some(own) =
        resources.as_object_mut().map(|resources| resources.entry(part).or_insert_with(|| json!({})))
    else {
        return Vec::new();
    };
    let Some(own) = own.as_object_mut() else { return Vec::new() };
    let missing: Vec<_> = defaults.iter().filter(|(name, _)| !own.contains_key(*name)).collect();
    let mut names: Vec<String> = missing.iter().map(|(name, _)| (*name).clone()).collect();
    own.extend(missing.into_iter().map(|(name, amount)| (name.clone(), amount.clone())));
    names.sort();
    names
}

/// What one LimitRange refuses of a pod.
fn pod(pod: &Value, range: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    for limit in list(range, "/spec/limits") {
        match text(limit, "/type") {
            "Container" => {
                for container in list(pod, "/spec/containers").chain(list(pod, "/spec/initContainers")) {
                    let of = |part: &str| amounts(&container["resources"][part]);
                    wrong.extend(bounds(limit, "Container", &of("requests"), &of("limits")));
                }
            }
            "Pod" => {
                // What cannot be read, validation refuses.
                let Ok(whole) = PodResources::deserialize(&pod["spec"]) else { continue };
                wrong.extend(bounds(limit, "Pod", &whole.requests(), &whole.limits()));
            }
            _ => {}
        }
    }
    wrong
}

/// What one LimitRange refuses of a claim.
fn claim(claim: &Value, range: &Value) -> Vec<String> {
    const KIND: &str = "PersistentVolumeClaim";
    let asked = amounts(&claim["spec"]["resources"]["requests"]);
    let limits = list(range, "/spec/limits").filter(|limit| limit["type"] == KIND);
    let checks = limits.flat_map(|limit| {
        let least = amounts(&limit["min"])
            .into_iter()
            .filter_map(|(name, min)| minimum(KIND, &name, min, &asked, &ResourceList::default()));
        let most = amounts(&limit["max"]).into_iter().filter_map(|(name, max)| {
            let word = format!("maximum {name} usage per {KIND} is {max}");
            match asked.get(&name) {
                None => Some(format!("{word}.  No request is specified")),
                Some(request) if *request > max => Some(format!("{word}, but request is {request}")),
                Some(_) => None,
            }
        });
        least.chain(most).collect::<Vec<_>>()
    });
    checks.collect()
}

fn amounts(map: &Value) -> ResourceList {
    let entries = map.as_object().into_iter().flatten();
    entries.filter_map(|(name, amount)| Some((name.clone(), amount.as_str()?.parse().ok()?))).collect()
}

fn bounds(limit: &Value, kind: &str, requests: &ResourceList, limits: &ResourceList) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, min) in amounts(&limit["min"]) {
        wrong.extend(minimum(kind, &name, min, requests, limits));
    }
    for (name, max) in amounts(&limit["max"]) {
        let word = format!("maximum {name} usage per {kind} is {max}");
        match (limits.get(&name), requests.get(&name)) {
            (None, _) => wrong.push(format!("{word}.  No limit is specified")),
            (Some(limit), _) if *limit > max => wrong.push(format!("{word}, but limit is {limit}")),
            (_, Some(request)) if *request > max => wrong.push(format!("{word}, but request is {request}")),
            _ => {}
        }
    }
    for (name, most) in amounts(&limit["maxLimitRequestRatio"]) {
        wrong.extend(ratio(kind, &name, most, requests, limits));
    }
    wrong
}

fn minimum(
    kind: &str,
    name: &str,
    min: Quantity,
    requests: &ResourceList,
    limits: &ResourceList,
) -> Option<String> {
    let word = format!("minimum {name} usage per {kind} is {min}");
    match (requests.get(name), limits.get(name)) {
        (None, _) => Some(format!("{word}.  No request is specified")),
        (Some(request), _) if *request < min => Some(format!("{word}, but request is {request}")),
        (_, Some(limit)) if *limit < min => Some(format!("{word}, but limit is {limit}")),
        _ => None,
    }
}

fn ratio(
    kind: &str,
    name: &str,
    most: Quantity,
    requests: &ResourceList,
    limits: &ResourceList,
) -> Option<String> {
    let word = format!("{name} max limit to request ratio per {kind} is {most}, but");
    let of = |list: &ResourceList| list.get(name).copied().filter(|amount| !amount.is_zero());
    let Some(request) = of(requests) else {
        return Some(format!("{word} no request is specified or request is 0"));
    };
    let Some(limit) = of(limits) else { return Some(format!("{word} no limit is specified or limit is 0")) };
    let given = limit.as_f64() / request.as_f64();
    (given > most.as_f64()).then(|| format!("{word} provided ratio is {given:.6}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Cluster, Request};

    fn cluster(limit: Value) -> Cluster {
        let range = json!({"metadata": {"namespace": "ns", "name": "r"}, "spec": {"limits": [limit]}});
        Cluster::default().with(Wanted::LimitRange, range)
    }

    fn pod_with(resources: Value) -> Request {
        let containers = json!([{"name": "c", "resources": resources}]);
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": containers}});
        Request::create("", "pods", "ns", pod)
    }

    #[tokio::test]
    async fn a_container_gets_what_it_does_not_say() {
        let limit = json!({"type": "Container", "default": {"cpu": "2", "memory": "1Gi"}, "defaultRequest": {"cpu": "1"}});
        let admitted = pod_with(json!({"limits": {"cpu": "3"}}))
            .mutate(&LimitRanger, &cluster(limit.clone()))
            .await
            .unwrap();
        assert_eq!(
            admitted["spec"]["containers"][0]["resources"],
            json!({"limits": {"cpu": "3", "memory": "1Gi"}, "requests": {"cpu": "1"}})
        );
        assert_eq!(
            admitted["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: cpu request for container c; memory limit for container c"
        );
        let whole = json!({"limits": {"cpu": "3", "memory": "1"}, "requests": {"cpu": "1"}});
        let untouched = pod_with(whole).mutate(&LimitRanger, &cluster(limit)).await.unwrap();
        assert_eq!(untouched["metadata"].get("annotations"), None);
        let elsewhere = pod_with(json!({})).mutate(&LimitRanger, &Cluster::default()).await.unwrap();
        assert_eq!(elsewhere["spec"]["containers"][0]["resources"], json!({}));
    }

    #[tokio::test]
    async fn what_is_out_of_bounds_is_refused_in_upstreams_words() {
        let both = |cpu: &str| json!({"limits": {"cpu": cpu}, "requests": {"cpu": cpu}});
        let rows = [
            (json!({"type": "Container", "max": {"cpu": "1"}}), both("1"), None),
            (
                json!({"type": "Container", "max": {"cpu": "1"}}),
                both("2"),
                Some("maximum cpu usage per Container is 1, but limit is 2"),
            ),
            (
                json!({"type": "Container", "max": {"cpu": "1"}}),
                json!({}),
                Some("maximum cpu usage per Container is 1.  No limit is specified"),
            ),
            (
                json!({"type": "Container", "min": {"cpu": "1"}}),
                both("500m"),
                Some("minimum cpu usage per Container is 1, but request is 500m"),
            ),
            (
                json!({"type": "Container", "min": {"cpu": "1"}}),
                json!({}),
                Some("minimum cpu usage per Container is 1.  No request is specified"),
            ),
            (
                json!({"type": "Pod", "max": {"cpu": "1"}}),
                both("2"),
                Some("maximum cpu usage per Pod is 1, but limit is 2"),
            ),
            (
                json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}}),
                json!({"limits": {"cpu": "3"}, "requests": {"cpu": "1"}}),
                Some("cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000"),
            ),
            (
                json!({"type": "Container", "max": {"cpu": "1"}, "min": {"memory": "1Gi"}}),
                both("2"),
                Some(
                    "[minimum memory usage per Container is 1Gi.  No request is specified, maximum cpu usage per Container is 1, but limit is 2]",
                ),
            ),
            (json!({"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}}), both("9"), None),
        ];
        let max = || cluster(json!({"type": "Container", "max": {"cpu": "1"}}));
        let changed = |sub: &'static str| pod_with(both("2")).update(json!({})).at(sub, "p");
        assert!(changed("resize").validate(&LimitRanger, &max()).await.is_err());
        for other in ["", "status"] {
            assert!(changed(other).validate(&LimitRanger, &max()).await.is_ok());
        }
        for (limit, resources, expected) in rows {
            let outcome = pod_with(resources).validate(&LimitRanger, &cluster(limit.clone())).await;
            let message = outcome.err().map(|status| status.message);
            let expected = expected.map(|why| format!("pods \"p\" is forbidden: {why}"));
            assert_eq!(message, expected, "{limit}");
        }
    }

    #[tokio::test]
    async fn a_claim_keeps_to_its_bounds() {
        let limit =
            json!({"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}});
        let rows = [
            ("1Gi", None),
            ("3Gi", Some("maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi")),
            ("1Mi", Some("minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi")),
        ];
        for (asked, expected) in rows {
            let claim =
                json!({"metadata": {"name": "c"}, "spec": {"resources": {"requests": {"storage": asked}}}});
            let request = Request::create("", "persistentvolumeclaims", "ns", claim);
            let outcome = request.validate(&LimitRanger, &cluster(limit.clone())).await;
            let message = outcome.err().map(|status| status.message);
            assert_eq!(
                message,
                expected.map(|why| format!("persistentvolumeclaims \"c\" is forbidden: {why}"))
            );
        }
    }
}
