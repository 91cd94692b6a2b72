//! FlowSchema and PriorityLevelConfiguration.

use super::text::{NONE, count, name, or};
use crate::{entry::Entry, meta};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) fn schema(object: &Value, age: Value) -> Vec<Value> {
    let conditions = meta::items(object, &["status", "conditions"]);
    let dangling = conditions.iter().find(|condition| condition["type"] == "Dangling");
    vec![
        name(object),
        json!(meta::text(object, &["spec", "priorityLevelConfiguration", "name"])),
        json!(count(object, &["spec", "matchingPrecedence"])),
        or(meta::text(object, &["spec", "distinguisherMethod", "type"]), NONE),
        age,
        dangling.map_or(json!("?"), |condition| json!(meta::text(condition, &["status"]))),
    ]
}

pub(super) fn level(object: &Value, age: Value) -> Vec<Value> {
    let under = |parent: &[&str], key: &str| match meta::at(object, parent) {
        Some(parent) => json!(count(parent, &[key])),
        None => json!(NONE),
    };
    let queuing = ["spec", "limited", "limitResponse", "queuing"];
    vec![
        name(object),
        json!(meta::text(object, &["spec", "type"])),
        under(&queuing[..2], "nominalConcurrencyShares"),
        under(&queuing, "queues"),
        under(&queuing, "handSize"),
        under(&queuing, "queueLengthLimit"),
        age,
    ]
}

/// In the order in which schemas are tried.
pub(super) fn in_order(entries: &[Arc<Entry>]) -> Vec<Arc<Entry>> {
    let mut all = entries.to_vec();
    all.sort_by_cached_key(|entry| {
        (count(&entry.to_value(), &["spec", "matchingPrecedence"]), entry.head.name().to_owned())
    });
    all
}
