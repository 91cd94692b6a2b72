//! What objects count for in a ResourceQuota, and which quotas they concern.
//!
//! Admission charges by these rules and the controller recounts by them, so that both come to the same sums. Pure: it
//! reads stored objects and knows neither where they come from nor who may exceed what.
//!
//! Rules: upstream's `pkg/quota/v1/evaluator/core` and `staging/src/k8s.io/apiserver/pkg/quota/v1`.
#![forbid(unsafe_code)]

mod claims;
mod devices;
mod names;
mod pods;
mod scopes;
mod services;

pub use names::{Source, source_of};
pub use scopes::matches;

use keelson_semantics::{Quantity, ResourceList, quantity::Format};
use serde_json::Value;
use time::OffsetDateTime;

/// Everything that one object of a resource counts for, by the names that a quota's `hard` may use.
pub fn usage(group: &str, plural: &str, object: &Value, now: OffsetDateTime) -> ResourceList {
    let mut used = ResourceList::from([(names::count_of(group, plural), one())]);
    if group.is_empty() {
        match plural {
            "pods" => pods::add(&mut used, object, now),
            "services" => services::add(&mut used, object),
            "persistentvolumeclaims" => claims::add(&mut used, object),
            plain if names::is_plain(plain) => _ = used.insert(plain.to_owned(), one()),
            _ => {}
        }
    }
    if (group, plural) == names::DEVICE_CLAIMS {
        devices::add(&mut used, object);
    }
    used
}

/// What the object must state so that it can be counted under these names, and does not; in the API's words.
pub fn unstated(group: &str, plural: &str, object: &Value, names: &[&str]) -> Option<String> {
    ((group, plural) == ("", "pods")).then(|| pods::unstated(object, names)).flatten()
}

/// Whether an update can change what an object of this resource counts for. Pods only change by their resize.
pub fn changes_by_update(group: &str, plural: &str, subresource: &str) -> bool {
    match (group, plural) {
        ("", "services" | "persistentvolumeclaims") => subresource.is_empty(),
        ("", "pods") => subresource == "resize",
        _ => false,
    }
}

/// The amounts under a field of a quota's spec or status; what is no quantity is not there (the decoder refuses it).
pub fn amounts(quota: &Value, part: &str, list: &str) -> ResourceList {
    let entries = quota.get(part).and_then(|part| part.get(list)).and_then(Value::as_object);
    entries
        .into_iter()
        .flatten()
        .filter_map(|(name, amount)| Some((name.clone(), amount.as_str()?.parse().ok()?)))
        .collect()
}

/// `cpu=2,memory=1Gi`, sorted: how the API shows amounts in messages.
pub fn shown(amounts: &ResourceList) -> String {
    let all: Vec<String> = amounts.iter().map(|(name, amount)| format!("{name}={amount}")).collect();
    all.join(",")
}

fn one() -> Quantity {
    count(1)
}

fn count(number: usize) -> Quantity {
    Quantity::from_units(i64::try_from(number).unwrap_or(i64::MAX), Format::DecimalSi)
}

#[cfg(test)]
mod tests;
