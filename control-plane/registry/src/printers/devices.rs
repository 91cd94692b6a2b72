//! The kinds of resource.k8s.io.

use super::text::name;
use crate::meta;
use serde_json::{Value, json};

pub(super) fn cells(plural: &str, object: &Value, age: Value) -> Vec<Value> {
    match plural {
        "resourceclaims" => vec![name(object), json!(state(object)), age],
        "resourceslices" => {
            let text = |path: &[&str]| json!(meta::text(object, path));
            let driver = text(&["spec", "driver"]);
            let pool = text(&["spec", "pool", "name"]);
            vec![name(object), text(&["spec", "nodeName"]), driver, pool, age]
        }
        _ => vec![name(object), age],
    }
}

/// What became of a claim.
fn state(claim: &Value) -> String {
    let mut states = Vec::new();
    if meta::deleting(claim) {
        states.push("deleted");
    }
    match meta::at(claim, &["status", "allocation"]) {
        None if states.is_empty() => states.push("pending"),
        None => {}
        Some(_) => {
            states.push("allocated");
            if !meta::items(claim, &["status", "reservedFor"]).is_empty() {
                states.push("reserved");
            }
        }
    }
    states.join(",")
}
