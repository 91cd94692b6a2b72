//! Lists that are sets or maps hold nothing twice.

use serde_json::{Map, Value};

use super::schema::{List, Schema};
use crate::field::{FieldError, Path};

pub(super) fn duplicates(schema: &Schema, path: &Path, value: &Value, errors: &mut Vec<FieldError>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                if let Some(below) = schema.entry(name) {
                    let path = if *path == Path::root() { Path::new(name) } else { path.child(name) };
                    duplicates(below, &path, value, errors);
                }
            }
        }
        Value::Array(items) => {
            match schema.list {
                Some(List::Set) => twice(items.iter().cloned(), path, errors),
                Some(List::Map) => twice(items.iter().map(|item| keys(schema, item)), path, errors),
                Some(List::Atomic) | None => {}
            }
            let Some(below) = &schema.items else { return };
            for (index, item) in items.iter().enumerate() {
                duplicates(below, &path.index(index), item, errors);
            }
        }
        _ => {}
    }
}

/// By their text, so that a long list costs little more than a short one.
fn twice(identities: impl Iterator<Item = Value>, path: &Path, errors: &mut Vec<FieldError>) {
    let mut seen = std::collections::HashSet::new();
    for (index, identity) in identities.enumerate() {
        if !seen.insert(identity.to_string()) {
            errors.push(FieldError::duplicate(&path.index(index), identity));
        }
    }
}

/// What an item is told by: its keys, those left out with their defaults.
fn keys(schema: &Schema, item: &Value) -> Value {
    let default = |key: &String| schema.items.as_ref()?.properties.get(key)?.default.as_ref();
    let pairs: Map<String, Value> = schema
        .list_keys
        .iter()
        .filter_map(|key| Some((key.clone(), item.get(key).or_else(|| default(key))?.clone())))
        .collect();
    Value::Object(pairs)
}
