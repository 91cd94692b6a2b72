//! Words that several printers share.

use crate::{meta, validate::selector};
use keelson_semantics::{age as ages, timestamp};
use serde_json::{Value, json};
use time::OffsetDateTime;

/// Nothing to show.
pub(super) const NONE: &str = "<none>";
/// Lists are cut after so many.
const LIST_MAX: usize = 3;

/// metadata.name; of a bookmark, which has none, the empty text.
pub(super) fn name(object: &Value) -> Value {
    json!(meta::field(object, "name"))
}

/// The time at which an object without a printer of its own was made; of a bookmark, Go's zero.
pub(super) fn created(object: &Value) -> Value {
    or(meta::field(object, "creationTimestamp"), "0001-01-01T00:00:00Z")
}

/// Age of the object.
pub(super) fn age(object: &Value, now: OffsetDateTime) -> Value {
    json!(since(meta::field(object, "creationTimestamp"), now))
}

/// Age of a time, `<unknown>` when it is not set.
pub(crate) fn since(time: &str, now: OffsetDateTime) -> String {
    ages::age(timestamp::parse(time).ok(), now)
}

/// The text, or `otherwise` when it is empty or absent.
pub(super) fn or(text: &str, otherwise: &str) -> Value {
    json!(if text.is_empty() { otherwise } else { text })
}

/// The text at a path, also an empty one, `<unset>` when absent.
pub(super) fn set(object: &Value, path: &[&str]) -> Value {
    meta::at(object, path).cloned().unwrap_or_else(|| json!("<unset>"))
}

/// A number at a path, 0 when absent.
pub(super) fn count(object: &Value, path: &[&str]) -> i64 {
    meta::number(object, path).unwrap_or_default()
}

/// `k=v` sorted by key, `<none>` when empty.
pub(super) fn pairs(object: &Value, path: &[&str]) -> Value {
    let all: Vec<String> = meta::entries(object, path)
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    or(&all.join(","), NONE)
}

/// A metav1 LabelSelector as text, `empty` when it has no requirements.
pub(super) fn label_selector(object: &Value, path: &[&str], empty: &str) -> Value {
    let Some(value) = meta::at(object, path) else { return json!(empty) };
    match selector::parsed(value) {
        Some(parsed) => or(&parsed.to_string(), empty),
        // Deployments, which show nothing for no requirements, have a word of their own.
        None if empty.is_empty() => json!("<invalid>"),
        None => json!("<error>"),
    }
}

/// Names and images of the containers of a PodSpec, each joined with commas.
pub(super) fn containers(object: &Value, path: &[&str]) -> [Value; 2] {
    let of = |key: &str| {
        let all: Vec<&str> =
            meta::items(object, path).iter().map(|container| meta::text(container, &[key])).collect();
        json!(all.join(","))
    };
    [of("name"), of("image")]
}

/// The first few of a list, and how many more there are.
pub(super) fn first_few(all: &[String], empty: &str) -> Value {
    let shown = all[..all.len().min(LIST_MAX)].join(",");
    match all.len().saturating_sub(LIST_MAX) {
        0 => or(&shown, empty),
        more => json!(format!("{shown} + {more} more...")),
    }
}

/// The texts of a list of texts.
pub(super) fn texts(object: &Value, path: &[&str]) -> Vec<String> {
    meta::items(object, path).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}
