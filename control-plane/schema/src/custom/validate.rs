//! What is wrong with the values of an object, in the words of the server that users know.
//!
//! Texts and paths are those of upstream's validator (`spec.replicas in body must be of type integer: "string"`). On an
//! update, what is as it was is not looked at again (KEP-4008, ratcheting): a schema that became stricter does not stop
//! changes elsewhere. Lists are told apart by their keys where they have some, else they are seen as one.

use serde_json::{Map, Value, json};

use super::format;
use super::schema::{Additional, Kind, List, Schema};
use crate::field::{Cause, FieldError, Path};

/// Errors that one object can have told; the rest is left unsaid.
pub const ERRORS_MAX: usize = 100;

/// All that is wrong with an object; `old` is its state before an update.
pub(super) fn validate(schema: &Schema, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    value(schema, "", object, old, &mut errors);
    super::lists::duplicates(schema, &Path::root(), object, &mut errors);
    embedded(schema, &Path::root(), object, &mut errors);
    errors.truncate(ERRORS_MAX);
    errors
}

fn value(schema: &Schema, path: &str, value: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    if old == Some(value) || errors.len() >= ERRORS_MAX {
        return;
    }
    if !type_fits(schema, value) {
        let (wanted, found) = (wanted_type(schema), type_name(value));
        let text = format!("{path} in body must be of type {wanted}: \"{found}\"");
        errors.push(FieldError::type_invalid(&at(path), found, text));
    }
    let allowed =
        schema.allowed.is_empty() || schema.allowed.contains(value) || (value.is_null() && schema.nullable);
    if !allowed {
        let names: Vec<String> = schema
            .allowed
            .iter()
            .map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned))
            .collect();
        errors.push(FieldError::not_supported(&at(path), value.clone(), &names));
    }
    match value {
        Value::String(text) => string(schema, path, text, errors),
        Value::Number(_) => number(schema, path, value, errors),
        Value::Array(items) => list(schema, path, items, old, errors),
        Value::Object(fields) => object(schema, path, fields, old, errors),
        Value::Null | Value::Bool(_) => {}
    }
    junctors(schema, path, value, old, errors);
}

fn at(path: &str) -> Path {
    if path.is_empty() { Path::root() } else { Path::from(path) }
}

fn type_fits(schema: &Schema, value: &Value) -> bool {
    if schema.int_or_string {
        return value.is_string() || is_integer(value) || (value.is_null() && schema.nullable);
    }
    match (schema.kind, value) {
        (None, _) => true,
        (_, Value::Null) => schema.nullable,
        (Some(Kind::Object), Value::Object(_))
        | (Some(Kind::Array), Value::Array(_))
        | (Some(Kind::String), Value::String(_))
        | (Some(Kind::Boolean), Value::Bool(_))
        | (Some(Kind::Number), Value::Number(_)) => true,
        (Some(Kind::Integer), value) => is_integer(value),
        _ => false,
    }
}

/// Also 1.0: JSON does not tell it from 1.
fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

fn wanted_type(schema: &Schema) -> String {
    let kind = if schema.int_or_string { "integer,string" } else { schema.kind.map_or("", Kind::name) };
    if schema.nullable { format!("{kind},null") } else { kind.to_owned() }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn wrong(path: &str, value: impl Into<Value>, what: impl std::fmt::Display) -> FieldError {
    FieldError::invalid(&at(path), value, format!("{path} in body {what}"))
}

fn string(schema: &Schema, path: &str, text: &str, errors: &mut Vec<FieldError>) {
    let length = text.chars().count() as u64;
    if let Some(max) = schema.limits.max_length.filter(|max| length > *max) {
        errors.push(FieldError::too_long(&at(path), usize::try_from(max).unwrap_or(usize::MAX)));
    }
    if let Some(min) = schema.limits.min_length.filter(|min| length < *min) {
        errors.push(wrong(path, text, format!("should be at least {min} chars long")));
    }
    if let Some(pattern) = schema.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
        errors.push(wrong(path, text, format!("should match '{}'", pattern.as_str())));
    }
    if let Some(name) = schema.format.as_deref().filter(|name| !format::fits(name, text)) {
        errors.push(wrong(path, text, format!("must be of type {name}: {}", crate::field::quote(text))));
    }
}

fn number(schema: &Schema, path: &str, value: &Value, errors: &mut Vec<FieldError>) {
    let (limits, number) = (&schema.limits, value.as_f64().unwrap_or_default());
    if let Some(max) = limits.maximum {
        if limits.exclusive_maximum && number >= max {
            errors.push(wrong(path, value.clone(), format!("should be less than {max}")));
        } else if number > max {
            errors.push(wrong(path, value.clone(), format!("should be less than or equal to {max}")));
        }
    }
    if let Some(min) = limits.minimum {
        if limits.exclusive_minimum && number <= min {
            errors.push(wrong(path, value.clone(), format!("should be greater than {min}")));
        } else if number < min {
            errors.push(wrong(path, value.clone(), format!("should be greater than or equal to {min}")));
        }
    }
    if let Some(factor) =
        limits.multiple_of.filter(|factor| *factor > 0.0 && (number / factor).fract() != 0.0)
    {
        errors.push(wrong(path, value.clone(), format!("should be a multiple of {factor}")));
    }
    let too_wide = schema.format.as_deref() == Some("int32")
        && !(f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number);
    if too_wide {
        errors.push(wrong(path, value.clone(), "must be of type int32"));
    }
}

/// Too many, as the count of what is there and the most that may be.
fn too_many(path: &str, count: usize, max: Option<u64>) -> Option<FieldError> {
    let max = usize::try_from(max?).unwrap_or(usize::MAX);
    (count > max).then(|| FieldError::too_many(&at(path), count, max))
}

fn list(schema: &Schema, path: &str, items: &[Value], old: Option<&Value>, errors: &mut Vec<FieldError>) {
    errors.extend(too_many(path, items.len(), schema.limits.max_items));
    if let Some(min) = schema.limits.min_items.filter(|min| (items.len() as u64) < *min) {
        errors.push(wrong(path, json!(items.len()), format!("should have at least {min} items")));
    }
    let Some(below) = &schema.items else { return };
    let before = old.and_then(Value::as_array);
    for (index, item) in items.iter().enumerate() {
        let old = before.filter(|_| schema.list == Some(List::Map)).and_then(|before| {
            before.iter().find(|other| schema.list_keys.iter().all(|key| other.get(key) == item.get(key)))
        });
        value(below, &format!("{path}[{index}]"), item, old, errors);
    }
}

fn object(
    schema: &Schema,
    path: &str,
    fields: &Map<String, Value>,
    old: Option<&Value>,
    errors: &mut Vec<FieldError>,
) {
    errors.extend(too_many(path, fields.len(), schema.limits.max_properties));
    if let Some(min) = schema.limits.min_properties.filter(|min| (fields.len() as u64) < *min) {
        errors.push(wrong(path, json!(fields.len()), format!("should have at least {min} properties")));
    }
    let step = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    for name in schema.required.iter().filter(|name| !fields.contains_key(*name)) {
        errors.push(FieldError::required(&at(&step(name)), ""));
    }
    for (name, field) in fields {
        if let Some(below) = schema.entry(name) {
            value(below, &step(name), field, old.and_then(|old| old.get(name)), errors);
        } else if matches!(schema.additional, Some(Additional::Nothing)) && !schema.preserve {
            errors.push(FieldError::forbidden(&at(&step(name)), "is a forbidden property"));
        }
    }
}

fn junctors(schema: &Schema, path: &str, this: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let try_one = |one: &Schema| {
        let mut found = Vec::new();
        value(one, path, this, None, &mut found);
        found
    };
    let whole = |what: &str| FieldError {
        cause: Cause::Invalid,
        field: Path::root().to_string(),
        detail: format!("Invalid value: \"\": \"{path}\" must {what}"),
    };
    for one in &schema.all_of {
        let before = errors.len();
        value(one, path, this, old, errors);
        if errors.len() > before {
            errors.push(whole("validate all the schemas (allOf)"));
        }
    }
    if !schema.any_of.is_empty() {
        let tried: Vec<_> = schema.any_of.iter().map(try_one).collect();
        if tried.iter().all(|found| !found.is_empty()) {
            errors.push(whole("validate at least one schema (anyOf)"));
            errors.extend(tried.into_iter().min_by_key(Vec::len).unwrap_or_default());
        }
    }
    if !schema.one_of.is_empty() {
        let tried: Vec<_> = schema.one_of.iter().map(try_one).collect();
        match tried.iter().filter(|found| found.is_empty()).count() {
            1 => {}
            0 => {
                errors.push(whole("validate one and only one schema (oneOf). Found none valid"));
                errors.extend(tried.into_iter().min_by_key(Vec::len).unwrap_or_default());
            }
            several => {
                let what =
                    format!("validate one and only one schema (oneOf). Found {several} valid alternatives");
                errors.push(whole(&what));
            }
        }
    }
    if schema.not.as_deref().is_some_and(|not| try_one(not).is_empty()) {
        errors.push(whole("not validate the schema (not)"));
    }
}

/// An embedded object says what it is.
fn embedded(schema: &Schema, path: &Path, value: &Value, errors: &mut Vec<FieldError>) {
    let child = |name: &str| if *path == Path::root() { Path::new(name) } else { path.child(name) };
    match value {
        Value::Object(object) => {
            if schema.embedded {
                for key in ["apiVersion", "kind"] {
                    if object.get(key).and_then(Value::as_str).unwrap_or_default().is_empty() {
                        errors.push(FieldError::required(&child(key), "must not be empty"));
                    }
                }
            }
            for (name, value) in object {
                if let Some(below) = schema.entry(name) {
                    embedded(below, &child(name), value, errors);
                }
            }
        }
        Value::Array(items) => {
            let Some(below) = &schema.items else { return };
            for (index, item) in items.iter().enumerate() {
                embedded(below, &path.index(index), item, errors);
            }
        }
        _ => {}
    }
}
