//! Scalars of a configuration in the form in which objects are stored, so that `0.1` is no change of `100m`.
//!
//! Does not refuse: what cannot be read stays as it is, and decoding says what is wrong with it.

use keelson_semantics::{Quantity, timestamp};
use serde_json::Value;

use crate::types::{Shape, TypeRef};

/// Brings quantities and times below `value` into canonical form; nulls and empty things stay, since they say something.
pub(super) fn canonicalise(ty: TypeRef<'_>, value: &mut Value) {
    match (ty.shape(), value) {
        (Shape::Object(_), Value::Object(fields)) => {
            for (name, value) in fields {
                if let Some(property) = ty.property(name) {
                    canonicalise(ty.child(property), value);
                }
            }
        }
        (Shape::Map(_), Value::Object(entries)) => {
            let Some(inner) = ty.inner() else { return };
            entries.values_mut().for_each(|value| canonicalise(inner, value));
        }
        (Shape::Array(_), Value::Array(items)) => {
            let Some(inner) = ty.inner() else { return };
            items.iter_mut().for_each(|value| canonicalise(inner, value));
        }
        (shape, value) => {
            if let Some(text) = scalar(shape, value) {
                *value = Value::String(text);
            }
        }
    }
}

fn scalar(shape: Shape, value: &Value) -> Option<String> {
    match (shape, value) {
        (Shape::Quantity, Value::String(text)) => quantity(text),
        (Shape::Quantity, Value::Number(number)) => quantity(&number.to_string()),
        (Shape::Time, Value::String(text)) => timestamp::parse(text).ok().map(timestamp::format_seconds),
        (Shape::MicroTime, Value::String(text)) => timestamp::parse(text).ok().map(timestamp::format_micros),
        _ => None,
    }
}

fn quantity(text: &str) -> Option<String> {
    text.trim().parse::<Quantity>().ok().map(|quantity| quantity.to_string())
}
