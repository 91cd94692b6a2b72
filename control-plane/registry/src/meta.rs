//! Reading and writing the metadata of an object that is in hand as a Value.

use serde_json::{Map, Value, json};
use time::OffsetDateTime;

/// A text at a path of object keys, "" when it is not there.
pub fn text<'a>(object: &'a Value, path: &[&str]) -> &'a str {
    at(object, path).and_then(Value::as_str).unwrap_or_default()
}

/// A value at a path of object keys; null counts as absent.
pub fn at<'a>(object: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, key| value.get(key)).filter(|value| !value.is_null())
}

/// The items of a list at a path, none when it is not there.
pub fn items<'a>(object: &'a Value, path: &[&str]) -> &'a [Value] {
    at(object, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The entries of an object at a path, none when it is not there.
pub fn entries<'a>(object: &'a Value, path: &[&str]) -> impl Iterator<Item = (&'a String, &'a Value)> {
    at(object, path).and_then(Value::as_object).into_iter().flatten()
}

/// A whole number at a path.
pub fn number(object: &Value, path: &[&str]) -> Option<i64> {
    at(object, path).and_then(Value::as_i64)
}

/// A text of metadata, "" when it is not there.
pub fn field<'a>(object: &'a Value, key: &str) -> &'a str {
    text(object, &["metadata", key])
}

/// Whether deletion has begun.
pub fn deleting(object: &Value) -> bool {
    at(object, &["metadata", "deletionTimestamp"]).is_some()
}

/// metadata.finalizers.
pub fn finalizers(object: &Value) -> Vec<&str> {
    items(object, &["metadata", "finalizers"]).iter().filter_map(Value::as_str).collect()
}

/// The object as a map. Whatever else it was becomes an empty one: bodies are objects once they are decoded.
pub fn map_of(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("it was made an object above")
}

/// The metadata, made when absent.
pub fn metadata(object: &mut Value) -> &mut Map<String, Value> {
    map_of(map_of(object).entry("metadata").or_insert_with(|| json!({})))
}

/// Sets a key of metadata, or removes it.
pub fn set(object: &mut Value, key: &str, value: Option<Value>) {
    match value {
        Some(value) => metadata(object).insert(key.to_owned(), value),
        None => metadata(object).remove(key),
    };
}

/// Takes a top-level or metadata key over from another object, also its absence.
pub fn carry(map: &mut Map<String, Value>, key: &str, from: Option<&Value>) {
    match from {
        Some(value) => map.insert(key.to_owned(), value.clone()),
        None => map.remove(key),
    };
}

/// Times are stored in UTC with whole seconds.
pub fn time_text(time: OffsetDateTime) -> Value {
    Value::String(keelson_semantics::timestamp::format_seconds(time))
}

/// metadata.generation, 0 when absent.
pub fn generation(object: &Value) -> i64 {
    number(object, &["metadata", "generation"]).unwrap_or_default()
}
