//! Subresources that write a part of a pod's spec in the form of a whole pod: which part that is.
//!
//! Owns what of a request counts. What it may say is in `validate`.

use crate::meta;
use serde_json::{Map, Value, json};

/// Which object a request is about; all else of its metadata stays.
const IDENTITY: [&str; 4] = ["name", "namespace", "uid", "resourceVersion"];

/// Leaves of `new` only what the subresource writes; the rest is the old pod's.
pub(super) fn narrow(sub: &str, new: &mut Value, old: &Value) {
    let part = match sub {
        "ephemeralcontainers" => new.pointer_mut("/spec/ephemeralContainers").map(Value::take),
        _ => return,
    };
    let identity = identity(new);
    let mut next = old.clone();
    meta::metadata(&mut next).extend(identity);
    let spec = meta::map_of(meta::map_of(&mut next).entry("spec").or_insert_with(|| json!({})));
    meta::carry(spec, "ephemeralContainers", part.filter(|part| !part.is_null()).as_ref());
    *new = next;
}

/// Leaves of a configuration what the subresource writes.
pub(super) fn narrow_config(sub: &str, config: &mut Value) {
    let mut spec = Map::new();
    match sub {
        "ephemeralcontainers" => {
            if let Some(list) = config.pointer_mut("/spec/ephemeralContainers").map(Value::take) {
                spec.insert("ephemeralContainers".to_owned(), list);
            }
        }
        _ => return,
    }
    let mut kept = json!({"metadata": identity(config)});
    for key in ["apiVersion", "kind"] {
        meta::carry(meta::map_of(&mut kept), key, config.get(key));
    }
    kept["spec"] = Value::Object(spec);
    *config = kept;
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

    #[test]
    fn only_the_part_of_the_subresource_counts() {
        let old = json!({
            "metadata": {"name": "p", "labels": {"a": "1"}, "resourceVersion": "5"},
            "spec": {"containers": [{"name": "c", "image": "i"}]}, "status": {"phase": "Running"},
        });
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
}
