//! Conditions of workloads, as they are written and replaced.

use keelson_harness::{Timestamp, views::Condition};
use serde_json::{Map, Value};

/// The JSON form; unset fields are left out.
pub(crate) fn to_json(condition: &Condition) -> Value {
    let mut out = Map::new();
    let texts = [
        ("type", &condition.r#type),
        ("status", &condition.status),
        ("reason", &condition.reason),
        ("message", &condition.message),
    ];
    for (name, text) in texts {
        if !text.is_empty() {
            out.insert(name.to_owned(), text.as_str().into());
        }
    }
    let times = [
        ("lastUpdateTime", condition.last_update_time),
        ("lastTransitionTime", condition.last_transition_time),
    ];
    for (name, time) in times {
        if let Some(time) = time {
            out.insert(name.to_owned(), time.to_string().into());
        }
    }
    Value::Object(out)
}

/// A condition that changes now.
pub(crate) fn new(kind: &str, status: &str, reason: &str, message: String, now: Timestamp) -> Condition {
    Condition {
        r#type: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        last_update_time: Some(now),
        last_transition_time: Some(now),
    }
}

/// Finds one by type.
pub(crate) fn get<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.r#type == kind)
}

/// Puts a condition in the place of the one of its type. Nothing changes if status and reason are the same; the
/// transition keeps its time if the status is.
pub(crate) fn set(conditions: &mut Vec<Condition>, mut new: Condition) {
    if let Some(current) = get(conditions, &new.r#type) {
        if current.status == new.status && current.reason == new.reason {
            return;
        }
        if current.status == new.status {
            new.last_transition_time = current.last_transition_time;
        }
    }
    remove(conditions, &new.r#type.clone());
    conditions.push(new);
}

/// Takes a condition away.
pub(crate) fn remove(conditions: &mut Vec<Condition>, kind: &str) {
    conditions.retain(|c| c.r#type != kind);
}
