//! Subresources that write a part of a pod's spec in the form of a whole pod: which part that is.
//!
//! Owns what of a request counts. What it may say is in `validate`.

use crate::meta;
use serde_json::{Map, Value, json};

/// Which object a request is about; all else of its metadata stays.
const IDENTITY: [&str; 4] = ["name", "namespace", "uid", "resourceVersion"];
/// The lists whose containers are resized.
const RESIZED: [&str; 2] = ["containers", "initContainers"];
/// What a resize writes of a container. The policy is let through so that a change of it is refused, not lost.
const OF_CONTAINER: [&str; 2] = ["resizePolicy", "resources"];

/// Leaves of `new` only what the subresource writes; the rest is the old pod's.
pub(super) fn narrow(sub: &str, new: &mut Value, old: &Value) {
    let part = match sub {
        "ephemeralcontainers" => take(new, &["ephemeralContainers"]),
        "resize" => resized(new, old),
        _ => return,
    };
    let identity = identity(new);
    let mut next = old.clone();
    meta::metadata(&mut next).extend(identity);
    let spec = meta::map_of(meta::map_of(&mut next).entry("spec").or_insert_with(|| json!({})));
    for (key, value) in part {
        meta::carry(spec, key, value.filter(|value| !value.is_null()).as_ref());
    }
    *new = next;
}

/// Leaves of a configuration what the subresource writes.
pub(super) fn narrow_config(sub: &str, config: &mut Value) {
    let part = match sub {
        "ephemeralcontainers" => take(config, &["ephemeralContainers"]),
        "resize" => {
            let mut part = take(config, &["containers", "initContainers", "resources"]);
            for list in part.iter_mut().filter(|(key, _)| RESIZED.contains(key)) {
                for container in list.1.iter_mut().filter_map(Value::as_array_mut).flatten() {
                    meta::map_of(container).retain(|key, _| key == "name" || OF_CONTAINER.contains(&&**key));
                }
            }
            part
        }
        _ => return,
    };
    let mut kept = json!({"metadata": identity(config)});
    for key in ["apiVersion", "kind"] {
        meta::carry(meta::map_of(&mut kept), key, config.get(key));
    }
    kept["spec"] = part.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
    *config = kept;
}

type Part = Vec<(&'static str, Option<Value>)>;

fn take(object: &mut Value, keys: &[&'static str]) -> Part {
    let mut field = |key: &str| object.get_mut("spec")?.get_mut(key).map(Value::take);
    keys.iter().map(|key| (*key, field(key))).collect()
}

/// The old containers with the new amounts. Where others came, some went or the order is another one the new ones are let
/// through, for validation to refuse.
fn resized(new: &mut Value, old: &Value) -> Part {
    let mut part = take(new, &["containers", "initContainers", "resources"]);
    for (key, value) in part.iter_mut().filter(|(key, _)| RESIZED.contains(key)) {
        let (now, then) = (value.as_ref().and_then(Value::as_array), meta::items(old, &["spec", key]));
        let now = now.map_or(&[][..], Vec::as_slice);
        let same = now.len() == then.len() && now.iter().zip(then).all(|(a, b)| a["name"] == b["name"]);
        if same && !then.is_empty() {
            let merged = now.iter().zip(then).map(|(now, then)| {
                let mut container = then.clone();
                for key in OF_CONTAINER {
                    meta::carry(meta::map_of(&mut container), key, now.get(key));
                }
                container
            });
            *value = Some(merged.collect());
        }
    }
    part
}

fn identity(object: &Value) -> Map<String, Value> {
    let metadata = object.get("metadata").and_then(Value::as_object).into_iter().flatten();
    metadata
        .filter(|(key, _)| IDENTITY.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn old() -> Value {
        json!({
            "metadata": {"name": "p", "labels": {"a": "1"}, "resourceVersion": "5"},
            "spec": {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}]},
            "status": {"phase": "Running"},
        })
    }

    #[test]
    fn only_the_part_of_the_subresource_counts() {
        let old = old();
        let mut new = json!({
            "metadata": {"name": "p", "labels": {"b": "2"}, "resourceVersion": "4"},
            "spec": {"containers": [], "ephemeralContainers": [{"name": "d"}]},
        });
        narrow("ephemeralcontainers", &mut new, &old);
        let mut expected = old.clone();
        expected["metadata"]["resourceVersion"] = json!("4");
        expected["spec"]["ephemeralContainers"] = json!([{"name": "d"}]);
        assert_eq!(new, expected);
        let mut config = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"b": "2"}},
            "spec": {"nodeName": "n", "ephemeralContainers": [{"name": "d"}]},
        });
        narrow_config("ephemeralcontainers", &mut config);
        let expected = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
            "spec": {"ephemeralContainers": [{"name": "d"}]},
        });
        assert_eq!(config, expected);
    }

    #[test]
    fn a_resize_is_of_amounts_alone() {
        let old = old();
        let two = json!({"requests": {"cpu": "2"}});
        let mut new = old.clone();
        new["spec"]["containers"][0] = json!({"name": "c", "image": "j", "tty": true, "resources": two});
        new["spec"]["nodeName"] = json!("elsewhere");
        narrow("resize", &mut new, &old);
        let mut expected = old.clone();
        expected["spec"]["containers"][0]["resources"] = two.clone();
        assert_eq!(new, expected);
        let others = json!([{"name": "other", "image": "j"}]);
        let mut new = old.clone();
        new["spec"]["containers"] = others.clone();
        narrow("resize", &mut new, &old);
        assert_eq!(new["spec"]["containers"], others, "for validation to refuse");
        let mut config =
            json!({"spec": {"containers": [{"name": "c", "image": "j", "resources": two}], "nodeName": "n"}});
        narrow_config("resize", &mut config);
        let expected = json!({"metadata": {}, "spec": {"containers": [{"name": "c", "resources": two}]}});
        assert_eq!(config, expected);
    }
}
