//! Pod templates of a Deployment and its ReplicaSets: equality, hash, and the template that a new ReplicaSet gets. Pure.

use keelson_harness::views::{Deployment, ReplicaSet};
use serde_json::{Value, value::RawValue};

/// The label by which the ReplicaSets of a Deployment tell their pods apart.
pub(super) const POD_TEMPLATE_HASH: &str = "pod-template-hash";

/// A template as it counts for "did it change": without the hash, and without the time that some servers add.
pub(super) fn comparable(template: &RawValue) -> Result<Value, serde_json::Error> {
    let mut value: Value = serde_json::from_str(template.get())?;
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("creationTimestamp");
        if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
            labels.remove(POD_TEMPLATE_HASH);
        }
    }
    prune(&mut value);
    Ok(value)
}

/// Absent, null and empty are the same, at every depth: clients with typed objects write `resources: {}` where a
/// manifest has nothing. (An empty `emptyDir` is the default of a volume without a source, so it may go too.)
fn prune(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.retain(|_, field| {
            prune(field);
            !is_empty(field)
        }),
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// Is the ReplicaSet one of this template?
pub(super) fn is_of(set: &ReplicaSet, wanted: &Value) -> bool {
    comparable(&set.spec.template).is_ok_and(|t| t == *wanted)
}

/// FNV-1a of the template (and the collision count), in letters and digits that spell no word.
pub(super) fn hash(template: &Value, collisions: Option<i32>) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut hash: u32 = 0x811c_9dc5;
    let mut mix = |bytes: &[u8]| {
        for &byte in bytes {
            hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
    };
    mix(template.to_string().as_bytes());
    if let Some(collisions) = collisions {
        mix(&collisions.to_le_bytes());
    }
    hash.to_string().bytes().map(|b| char::from(LETTERS[usize::from(b) % LETTERS.len()])).collect()
}

/// Names for a new ReplicaSet.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct NewTemplate {
    pub(super) name: String,
    pub(super) hash: String,
    /// With the hash among its labels.
    pub(super) template: Value,
}

pub(super) fn new_template(deployment: &Deployment, wanted: &Value) -> NewTemplate {
    let hash = hash(wanted, deployment.status.collision_count);
    let mut template = wanted.clone();
    template["metadata"]["labels"][POD_TEMPLATE_HASH] = hash.as_str().into();
    NewTemplate { name: format!("{}-{hash}", deployment.metadata.name), hash, template }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_typed_client_writes_empty_is_no_change() {
        let raw = |text: &str| RawValue::from_string(text.into()).unwrap();
        let manifest = raw(r#"{"spec":{"containers":[{"name":"a"}]}}"#);
        let typed = raw(
            r#"{"metadata":{"creationTimestamp":null},"spec":{"containers":[{"name":"a","resources":{}}],"volumes":[]}}"#,
        );
        assert_eq!(comparable(&manifest).unwrap(), comparable(&typed).unwrap());
    }
}
