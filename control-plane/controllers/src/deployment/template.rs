//! Pod templates of a Deployment and its ReplicaSets: equality, hash, and the template that a new ReplicaSet gets. Pure.

use keelson_harness::views::{Deployment, ReplicaSet};
use serde_json::{Map, Value, value::RawValue};

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

/// Absent, null and empty are the same.
fn prune(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.retain(|_, v| {
            prune(v);
            !v.is_null()
        });
        if fields.get("metadata").and_then(Value::as_object).is_some_and(Map::is_empty) {
            fields.remove("metadata");
        }
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
