//! What is wrong with the shape of a configuration, in upstream's words.
//!
//! Stricter than decoding: what is applied must be owned, so each field must be known and each item told from the others.

use std::fmt;

use serde_json::Value;

use super::element::{Element, FieldPath};
use super::place::{Form, Place};
use crate::types::{Shape, TypeRef};

/// At most so many mistakes are told.
const CONFIG_ERRORS_MAX: usize = 100;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where.
    pub path: FieldPath,
    /// What.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.0.is_empty() {
            return f.write_str(&self.message);
        }
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// All mistakes. One is shown as it is, several under each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => one.fmt(f),
            several => {
                f.write_str("errors:")?;
                several.iter().try_for_each(|error| write!(f, "\n  {error}"))
            }
        }
    }
}

/// Checks a configuration against its type.
pub fn check(ty: TypeRef<'_>, config: &Value) -> Result<(), ConfigErrors> {
    let mut walk = Walk::default();
    walk.value(Place::of(ty), config);
    if walk.errors.is_empty() { Ok(()) } else { Err(ConfigErrors(walk.errors)) }
}

#[derive(Default)]
struct Walk {
    trail: Vec<Element>,
    errors: Vec<ConfigError>,
}

impl Walk {
    fn error(&mut self, message: impl Into<String>) {
        if self.errors.len() < CONFIG_ERRORS_MAX {
            self.errors.push(ConfigError { path: FieldPath(self.trail.clone()), message: message.into() });
        }
    }

    fn value(&mut self, place: Place<'_>, value: &Value) {
        if value.is_null() {
            return;
        }
        let Some(ty) = place.ty() else { return };
        match (ty.shape(), value) {
            (Shape::Object(_) | Shape::Map(_), Value::Object(fields)) => {
                for (name, value) in fields {
                    self.trail.push(Element::Field(name.clone().into()));
                    if place.takes(name) {
                        self.value(place.field(name), value);
                    } else {
                        self.error("field not declared in schema");
                    }
                    self.trail.pop();
                }
            }
            (Shape::Array(_), Value::Array(items)) => self.items(place, items),
            (Shape::Object(_) | Shape::Map(_), other) => {
                self.error(format!("expected map, got {}", shown(other)))
            }
            (Shape::Array(_), other) => self.error(format!("expected list, got {}", shown(other))),
            (shape, value) => self.scalar(shape, value),
        }
    }

    fn items(&mut self, place: Place<'_>, items: &[Value]) {
        let form = place.form(&Value::Null);
        let mut seen: Vec<Element> = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            if form == Form::Leaf {
                self.trail.push(Element::Index(i64::try_from(index).unwrap_or(i64::MAX)));
                self.value(place.item(), item);
                self.trail.pop();
                continue;
            }
            match place.element(form, item) {
                Err(why) => self.error(format!("element {index}: {why}")),
                Ok(element) if seen.contains(&element) => {
                    self.error(format!("duplicate entries for key {element}"));
                }
                Ok(element) => {
                    self.trail.push(element.clone());
                    self.value(place.item(), item);
                    self.trail.pop();
                    seen.push(element);
                }
            }
        }
    }

    fn scalar(&mut self, shape: Shape, value: &Value) {
        let message = match (shape, value) {
            (Shape::Json, _) | (Shape::Opaque, Value::Object(_)) => return,
            (Shape::Bool, Value::Bool(_)) => return,
            (Shape::Int32 | Shape::Int64 | Shape::Float, Value::Number(_)) => return,
            (Shape::String | Shape::Bytes | Shape::Time | Shape::MicroTime, Value::String(_)) => return,
            (Shape::Quantity | Shape::IntOrString, Value::String(_) | Value::Number(_)) => return,
            (Shape::Bool, other) => format!("expected boolean, got {}", shown(other)),
            (Shape::Int32 | Shape::Int64 | Shape::Float, other) => {
                format!("expected numeric (int or float), got {}", go_type(other))
            }
            (Shape::Opaque, other) => format!("expected map, got {}", shown(other)),
            (Shape::Quantity | Shape::IntOrString, other) => {
                format!("expected any scalar, got {}", shown(other))
            }
            (_, other) => format!("expected string, got {}", shown(other)),
        };
        self.error(message);
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => crate::field::quote(text),
        other => other.to_string(),
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
