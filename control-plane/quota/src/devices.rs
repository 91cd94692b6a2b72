//! ResourceClaims: the devices that they ask for, by class; the most that may come to be allocated.
//!
//! Rules: upstream's `pkg/quota/v1/evaluator/core/resource_claims.go`.

use crate::names::BY_DEVICE_CLASS;
use keelson_semantics::{Quantity, ResourceList, quantity::Format};
use serde_json::Value;
use std::collections::BTreeMap;

/// A request for all matching devices gets so many at most (`AllocationResultsMaxSize` of resource.k8s.io).
const ALLOCATED_MAX: i64 = 32;

pub(crate) fn add(used: &mut ResourceList, claim: &Value) {
    let mut by_class: BTreeMap<&str, i64> = BTreeMap::new();
    for request in items(&claim["spec"]["devices"]["requests"]) {
        for (class, devices) in worst_case(request) {
            let sum = by_class.entry(class).or_default();
            *sum = sum.saturating_add(devices);
        }
    }
    for (class, devices) in by_class {
        used.insert(format!("{class}{BY_DEVICE_CLASS}"), Quantity::from_units(devices, Format::DecimalSi));
    }
}

/// Of alternatives one is allocated: each class counts for the largest of its own.
fn worst_case(request: &Value) -> BTreeMap<&str, i64> {
    let mut most: BTreeMap<&str, i64> = BTreeMap::new();
    let exactly = request.get("exactly");
    for wanted in exactly.into_iter().chain(items(&request["firstAvailable"])) {
        let devices = match wanted["allocationMode"].as_str() {
            Some("ExactCount") => wanted["count"].as_i64().unwrap_or_default(),
            Some("All") => ALLOCATED_MAX,
            // Of a newer version: it cannot be told, and is not counted upstream either.
            _ => continue,
        };
        let class = wanted["deviceClassName"].as_str().unwrap_or_default();
        let known = most.entry(class).or_default();
        *known = devices.max(*known);
    }
    most
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}
