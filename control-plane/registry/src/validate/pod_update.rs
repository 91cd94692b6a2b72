//! What may change in a pod once it exists.
//!
//! Rules: upstream's `ValidatePodUpdate`.

use super::{Errors, pod};
use crate::meta;
use keelson_schema::{FieldError, Path};
use serde_json::{Value, json};

const MUTABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 \
if it was previously negative)";
/// At most this many changed fields are named.
const SHOWN_MAX: usize = 10;

/// All that is wrong with a change of a pod's spec.
pub fn update(new: &Value, old: &Value) -> Errors {
    let path = Path::new("spec");
    let (after, before) = (&new["spec"], &old["spec"]);
    let mut errors = pod::spec(&path, after);
    for list in ["containers", "initContainers"] {
        let (now, then) = (meta::items(after, &[list]).len(), meta::items(before, &[list]).len());
        if now != then {
            let detail = "pod updates may not add or remove containers";
            errors.push(FieldError::forbidden(&path.child(list), detail));
            return errors;
        }
    }
    errors.extend(deadline(after, before));
    errors.extend(tolerations(after, before));
    errors.extend(gates(after, before));
    let changed = changed(&with_mutable_of(after, before), before);
    if !changed.is_empty() {
        let detail = format!(
            "pod updates may not change fields other than {MUTABLE}\nchanged: {}\n",
            changed.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join(", ")
        );
        errors.push(FieldError::forbidden(&path, detail));
    }
    errors
}

fn deadline(after: &Value, before: &Value) -> Option<FieldError> {
    let key = "activeDeadlineSeconds";
    let path = Path::new("spec").child(key);
    let then = meta::number(before, &[key])?;
    match meta::number(after, &[key]) {
        None => Some(FieldError::invalid(
            &path,
            Value::Null,
            "must not update from a positive integer to nil value",
        )),
        Some(now) if now > then => {
            let detail = "must be less than or equal to previous value";
            Some(FieldError::invalid(&path, now, detail))
        }
        Some(_) => None,
    }
}

fn tolerations(after: &Value, before: &Value) -> Option<FieldError> {
    let (now, then) = (meta::items(after, &["tolerations"]), meta::items(before, &["tolerations"]));
    // The seconds of a toleration may change; the toleration stays.
    let same = |a: &Value, b: &Value| {
        ["key", "operator", "value", "effect"]
            .iter()
            .all(|key| meta::text(a, &[key]) == meta::text(b, &[key]))
    };
    let kept = then.iter().all(|old| now.iter().any(|new| same(new, old)));
    (!kept).then(|| {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        FieldError::forbidden(&Path::new("spec.tolerations"), detail)
    })
}

fn gates(after: &Value, before: &Value) -> Option<FieldError> {
    let (now, then) = (meta::items(after, &["schedulingGates"]), meta::items(before, &["schedulingGates"]));
    let added = now.iter().find(|gate| !then.contains(gate))?;
    let detail =
        format!("only deletion is allowed, but found new scheduling gate '{}'", meta::text(added, &["name"]));
    Some(FieldError::forbidden(&Path::new("spec.schedulingGates"), detail))
}

/// The new spec with all that may change as it was.
fn with_mutable_of(after: &Value, before: &Value) -> Value {
    let mut spec = after.clone();
    for list in ["containers", "initContainers"] {
        let Some(containers) = spec.get_mut(list).and_then(Value::as_array_mut) else { continue };
        for (container, old) in containers.iter_mut().zip(meta::items(before, &[list])) {
            container["image"] = old["image"].clone();
        }
    }
    let gated = !meta::items(before, &["schedulingGates"]).is_empty();
    let mut keys = vec!["activeDeadlineSeconds", "tolerations", "schedulingGates"];
    if gated {
        // A pod that waits for its gates may still be steered.
        keys.extend(["nodeSelector", "affinity"]);
    }
    let negative =
        meta::number(before, &["terminationGracePeriodSeconds"]).is_some_and(|seconds| seconds < 0);
    if negative && spec["terminationGracePeriodSeconds"] == json!(1) {
        keys.push("terminationGracePeriodSeconds");
    }
    for key in keys {
        meta::carry(meta::map_of(&mut spec), key, before.get(key));
    }
    spec
}

fn changed(after: &Value, before: &Value) -> Vec<String> {
    let mut found = Vec::new();
    differences("spec", after, before, &mut found);
    found
}

pub(super) fn differences(path: &str, after: &Value, before: &Value, found: &mut Vec<String>) {
    match (after, before) {
        _ if after == before => {}
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                let null = &Value::Null;
                let path = format!("{path}.{key}");
                differences(&path, a.get(key).unwrap_or(null), b.get(key).unwrap_or(null), found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                differences(&format!("{path}[{index}]"), a, b, found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: Value) -> Value {
        let mut base = json!({
            "containers": [{"name": "a", "image": "i:1"}],
            "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
        });
        for (key, value) in spec.as_object().into_iter().flatten() {
            base[key.as_str()] = value.clone();
        }
        json!({"spec": base})
    }

    #[test]
    fn only_what_upstream_lets_change_may_change() {
        let old = pod(json!({}));
        let longer = json!([
            {"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 10},
            {"key": "x", "operator": "Exists"}
        ]);
        let rows = [
            (json!({"containers": [{"name": "a", "image": "i:2"}]}), None),
            (json!({"activeDeadlineSeconds": 5}), None),
            (json!({"tolerations": longer}), None),
            (json!({"tolerations": []}), Some("existing toleration can not be modified")),
            (json!({"nodeName": "n"}), Some("pod updates may not change fields other than")),
            (
                json!({"containers": [{"name": "a", "image": "i:1", "tty": true}]}),
                Some("spec.containers[0].tty"),
            ),
            (
                json!({"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]}),
                Some("add or remove"),
            ),
            (json!({"schedulingGates": [{"name": "g"}]}), Some("only deletion is allowed")),
        ];
        for (change, expected) in rows {
            let texts: Vec<String> =
                update(&pod(change.clone()), &old).iter().map(ToString::to_string).collect();
            match expected {
                None => assert!(texts.is_empty(), "{change}: {texts:?}"),
                Some(part) => assert!(texts.iter().any(|text| text.contains(part)), "{change}: {texts:?}"),
            }
        }
    }
}
