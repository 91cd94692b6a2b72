//! Filling in declared defaults, and taking out nulls that mean "unset".
//!
//! As upstream: a null where the schema is not nullable counts as unset; what then has no default goes. A nullable null
//! stays and is not defaulted.

use serde_json::Value;

use super::schema::Schema;

/// Applies every default below a schema to a value. Doing it again changes nothing.
pub(super) fn apply(schema: &Schema, value: &mut Value) {
    if schema.has_defaults {
        fill(schema, value);
    }
    drop_nulls(schema, value);
}

fn is_unset(schema: &Schema, value: &Value) -> bool {
    value.is_null() && schema.refuses_null()
}

fn fill(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(object) => {
            for (name, property) in &schema.properties {
                if let Some(default) = &property.default
                    && object.get(name).is_none_or(|value| is_unset(property, value))
                {
                    object.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in object {
                let Some(below) = schema.entry(name) else { continue };
                fill_null(below, value);
                if below.has_defaults {
                    fill(below, value);
                }
            }
        }
        Value::Array(items) => {
            let Some(below) = &schema.items else { return };
            for item in items {
                fill_null(below, item);
                if below.has_defaults {
                    fill(below, item);
                }
            }
        }
        _ => {}
    }
}

fn fill_null(schema: &Schema, value: &mut Value) {
    if let Some(default) = schema.default.as_ref().filter(|_| is_unset(schema, value)) {
        *value = default.clone();
    }
}

fn drop_nulls(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(object) => object.retain(|name, value| {
            let Some(below) = schema.entry(name) else { return true };
            if is_unset(below, value) {
                return false;
            }
            drop_nulls(below, value);
            true
        }),
        Value::Array(items) => {
            if let Some(below) = &schema.items {
                items.iter_mut().for_each(|item| drop_nulls(below, item));
            }
        }
        _ => {}
    }
}
