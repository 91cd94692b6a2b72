//! Requests and limits.
//!
//! Rules: upstream's `ValidateContainerResourceRequirements`.

use super::Errors;
use crate::meta;
use keelson_schema::{FieldError, Path};
use keelson_semantics::{Quantity, names};
use serde_json::Value;

/// Resources without a domain that containers may name.
const STANDARD: &[&str] = &["cpu", "memory", "ephemeral-storage"];

/// Requests and limits of a container.
pub fn requirements(path: &Path, resources: &Value) -> Errors {
    let mut errors = Errors::new();
    for list in ["limits", "requests"] {
        for (name, amount) in meta::entries(resources, &[list]) {
            let path = path.child(list);
            errors.extend(resource_name(&path, name));
            errors.extend(amount_of(&path.key(name), name, amount));
        }
    }
    let path = path.child("requests");
    for (name, request) in meta::entries(resources, &["requests"]) {
        let limit = meta::at(resources, &["limits", name]);
        let (Some(asked), Some(most)) = (quantity(request), limit.and_then(quantity)) else { continue };
        let limit = limit.and_then(Value::as_str).unwrap_or_default();
        if !overcommits(name) && asked != most {
            let detail = format!("must be equal to {name} limit of {limit}");
            errors.push(FieldError::invalid(&path, request.clone(), detail));
        } else if asked > most {
            let detail = format!("must be less than or equal to {name} limit of {limit}");
            errors.push(FieldError::invalid(&path, request.clone(), detail));
        }
    }
    errors
}

fn resource_name(path: &Path, name: &str) -> Errors {
    let mut errors = super::meta::invalid(path, name, names::qualified_name(name));
    if errors.is_empty()
        && !name.contains('/')
        && !STANDARD.contains(&name)
        && !name.starts_with("hugepages-")
    {
        errors.push(FieldError::invalid(path, name, "must be a standard resource for containers"));
    }
    errors
}

fn amount_of(path: &Path, name: &str, amount: &Value) -> Errors {
    let Some(quantity) = quantity(amount) else { return Errors::new() };
    if quantity.is_negative() {
        return vec![FieldError::invalid(path, amount.clone(), "must be greater than or equal to 0")];
    }
    if name.contains('/') && quantity.milli_value() % 1000 != 0 {
        return vec![FieldError::invalid(path, amount.clone(), "must be an integer")];
    }
    Errors::new()
}

/// Extended resources and huge pages are had or not, never shared.
fn overcommits(name: &str) -> bool {
    STANDARD.contains(&name)
}

/// A quantity; the decoder has refused what is none.
pub fn quantity(value: &Value) -> Option<Quantity> {
    value.as_str()?.parse().ok()
}
