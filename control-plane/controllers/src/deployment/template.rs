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

/// Fields whose empty object says nothing: maps, and structures that typed clients always write. Elsewhere an empty
/// object is a statement (`emptyDir: {}`, a selector that selects everything).
const EMPTY_SAYS_NOTHING: [&str; 9] = [
    "annotations",
    "labels",
    "limits",
    "matchLabels",
    "metadata",
    "nodeSelector",
    "overhead",
    "requests",
    "resources",
];

/// A typed client (kubectl's `rollout undo`) writes back more than it read: what it adds must not make a new template.
fn prune(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.retain(|name, field| {
            prune(field);
            match field {
                Value::Null => false,
                Value::Array(items) => !items.is_empty(),
                Value::Object(inner) => !inner.is_empty() || !EMPTY_SAYS_NOTHING.contains(&name.as_str()),
                Value::String(text) => !(name == "divisor" && text == "0"),
                _ => true,
            }
        }),
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
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

/// The Deployment's template as it is, pruned of nothing; `wanted` is its comparable form, of which the hash is made.
pub(super) fn new_template(
    deployment: &Deployment,
    wanted: &Value,
) -> Result<NewTemplate, serde_json::Error> {
    let hash = hash(wanted, deployment.status.collision_count);
    let mut template: Value = serde_json::from_str(deployment.spec.template.get())?;
    template["metadata"]["labels"][POD_TEMPLATE_HASH] = hash.as_str().into();
    Ok(NewTemplate { name: format!("{}-{hash}", deployment.metadata.name), hash, template })
}
