//! The kinds of resource.k8s.io: device classes, claims and what was allocated for them, slices of what drivers offer. Here
//! what several of them have: lists of a greatest length, names, selectors, configuration, taints.
//!
//! Rules: upstream's `pkg/apis/resource/validation`.

mod capacity;
mod claim;
mod device;
mod slice;
mod status;

pub use claim::{claim_spec, class};
pub use slice::slice;
pub use status::{identity, status};

use super::{
    Errors,
    csi::driver_name,
    meta::{invalid, name_errors},
    one_of,
};
use crate::{meta, strategy::NameRule};
use keelson_cel::{Program, Type, devices};
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use serde_json::Value;

/// Requests of a claim, and results of an allocation.
const REQUESTS_MAX: usize = 32;
/// Entries of `config`.
const CONFIG_MAX: usize = 32;
const SELECTORS_MAX: usize = 32;
/// An expression's.
const EXPRESSION_BYTES_MAX: usize = 10 * 1024;
/// What an expression may be estimated to cost.
const EXPRESSION_COST_MAX: u64 = 1_000_000;
/// Of a driver's parameters, and of what it says of a device.
const OPAQUE_BYTES_MAX: usize = 10 * 1024;
const POOL_BYTES_MAX: usize = 253;
const ID_BYTES_MAX: usize = 32;
const CONDITIONS_MAX: usize = 4;
const EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "None"];

/// The items under a key, each looked at, unless there are too many.
fn each(
    path: &Path,
    parent: &Value,
    key: &str,
    max: usize,
    look: impl Fn(&Path, &Value) -> Errors,
) -> Errors {
    let (path, items) = (path.child(key), meta::items(parent, &[key]));
    if items.len() > max {
        return vec![FieldError::too_many(&path, items.len(), max)];
    }
    items.iter().enumerate().flat_map(|(index, item)| look(&path.index(index), item)).collect()
}

/// Whoever has the key of an earlier item.
fn duplicates(path: &Path, items: &[Value], key: impl Fn(&Value) -> Value) -> Errors {
    let keys: Vec<Value> = items.iter().map(key).collect();
    let again = keys.iter().enumerate().filter(|(index, key)| keys[..*index].contains(key));
    again.map(|(index, key)| FieldError::duplicate(&path.index(index), key.clone())).collect()
}

/// As [`each`], of items that are told apart by a text.
fn each_named(
    path: &Path,
    parent: &Value,
    (key, name): (&str, &str),
    max: usize,
    look: impl Fn(&Path, &Value) -> Errors,
) -> Errors {
    let mut errors = each(path, parent, key, max, look);
    let items = meta::items(parent, &[key]);
    if items.len() <= max {
        errors.extend(duplicates(&path.child(key), items, |item| meta::text(item, &[name]).into()));
    }
    errors
}

fn label(path: &Path, name: &str) -> Errors {
    invalid(path, name, names::dns1123_label(name))
}

fn pool_name(path: &Path, name: &str) -> Errors {
    if name.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let mut errors = Errors::new();
    if name.len() > POOL_BYTES_MAX {
        errors.push(FieldError::too_long(path, POOL_BYTES_MAX));
    }
    for part in name.split('/') {
        errors.extend(invalid(path, part, name_errors(NameRule::Subdomain, part)));
    }
    errors
}

/// A device, by driver, pool and name.
fn device_name(path: &Path, of: &Value) -> Errors {
    let mut errors = driver_name(&path.child("driver"), meta::text(of, &["driver"]));
    errors.extend(pool_name(&path.child("pool"), meta::text(of, &["pool"])));
    errors.extend(label(&path.child("device"), meta::text(of, &["device"])));
    errors
}

/// `id` or `domain/id`.
fn qualified(path: &Path, name: &str) -> Errors {
    let id = |id: &str| {
        let mut errors = Errors::new();
        if id.len() > ID_BYTES_MAX {
            errors.push(FieldError::too_long(path, ID_BYTES_MAX));
        }
        errors.extend(invalid(path, id, names::c_identifier(id)));
        errors
    };
    match name.split('/').collect::<Vec<_>>()[..] {
        [name] => id(name),
        [domain, name] => {
            let mut errors = match domain {
                "" => vec![FieldError::invalid(path, "", "the domain must not be empty")],
                domain => driver_name(path, domain),
            };
            match name {
                "" => errors.push(FieldError::invalid(path, "", "the name must not be empty")),
                name => errors.extend(id(name)),
            }
            errors
        }
        _ => vec![FieldError::invalid(path, name, "must not contain more than one slash")],
    }
}

/// `domain/id`.
fn fully_qualified(path: &Path, name: &str) -> Errors {
    let mut errors = qualified(path, name);
    if !name.contains('/') {
        let detail = "a fully qualified name must be a domain and a name separated by a slash";
        errors.push(FieldError::invalid(path, name, detail));
    }
    errors
}

/// `selectors`: what is asked of a device, in CEL.
fn selectors(path: &Path, parent: &Value) -> Errors {
    each(path, parent, "selectors", SELECTORS_MAX, |path, selector| match meta::at(selector, &["cel"]) {
        None => vec![FieldError::required(&path.child("cel"), "")],
        Some(cel) => {
            let path = path.child("cel").child("expression");
            expression(&path, meta::text(cel, &["expression"])).into_iter().collect()
        }
    })
}

fn expression(path: &Path, text: &str) -> Option<FieldError> {
    if text.len() > EXPRESSION_BYTES_MAX {
        return Some(FieldError::too_long(path, EXPRESSION_BYTES_MAX));
    }
    match Program::compile_as(text, &devices::environment(), &[Type::Bool]) {
        Err(error) => Some(FieldError::invalid(path, text, error.to_string())),
        Ok(program) if program.cost_estimate() > EXPRESSION_COST_MAX => {
            Some(FieldError::forbidden(path, "too complex, exceeds cost limit"))
        }
        Ok(_) => None,
    }
}

/// What a driver is told, and nobody else understands.
fn configuration(path: &Path, config: &Value) -> Errors {
    let path = path.child("opaque");
    let Some(opaque) = meta::at(config, &["opaque"]) else { return vec![FieldError::required(&path, "")] };
    let mut errors = driver_name(&path.child("driver"), meta::text(opaque, &["driver"]));
    errors.extend(raw(&path.child("parameters"), opaque.get("parameters").unwrap_or(&Value::Null)));
    errors
}

/// An object of unknown shape.
fn raw(path: &Path, value: &Value) -> Option<FieldError> {
    match value {
        Value::Null => Some(FieldError::required(path, "")),
        Value::Object(_) => {
            let too_long = value.to_string().len() > OPAQUE_BYTES_MAX;
            too_long.then(|| FieldError::too_long(path, OPAQUE_BYTES_MAX))
        }
        _ => Some(FieldError::invalid(path, "<value omitted>", "must be a valid JSON object")),
    }
}

fn taint(path: &Path, taint: &Value) -> Errors {
    let (key, value) = (meta::text(taint, &["key"]), meta::text(taint, &["value"]));
    let mut errors = invalid(&path.child("key"), key, names::qualified_name(key));
    errors.extend(invalid(&path.child("value"), value, names::label_value(value)));
    match meta::text(taint, &["effect"]) {
        "" => errors.push(FieldError::required(&path.child("effect"), "")),
        _ => errors.extend(one_of(path, taint, "effect", EFFECTS)),
    }
    errors
}

fn toleration(path: &Path, toleration: &Value) -> Errors {
    let (key, value) = (meta::text(toleration, &["key"]), meta::text(toleration, &["value"]));
    let mut errors = Errors::new();
    if !key.is_empty() {
        errors.extend(invalid(&path.child("key"), key, names::qualified_name(key)));
    }
    match meta::text(toleration, &["operator"]) {
        "Exists" if !value.is_empty() => {
            let detail = "must be empty for operator `Exists`";
            errors.push(FieldError::invalid(&path.child("value"), value, detail));
        }
        "Exists" => {}
        "Equal" => errors.extend(invalid(&path.child("value"), value, names::label_value(value))),
        "" => errors.push(FieldError::required(&path.child("operator"), "")),
        _ => errors.extend(one_of(path, toleration, "operator", &["Equal", "Exists"])),
    }
    if !meta::text(toleration, &["effect"]).is_empty() {
        errors.extend(one_of(path, toleration, "effect", EFFECTS));
    }
    errors
}

/// The conditions that a device's binding waits for, and those that end it.
fn binding_conditions(path: &Path, of: &Value) -> Errors {
    let (wanted, fatal) = ("bindingConditions", "bindingFailureConditions");
    let mut errors = Errors::new();
    for key in [wanted, fatal] {
        errors.extend(each(path, of, key, CONDITIONS_MAX, |path, name| {
            let name = name.as_str().unwrap_or_default();
            invalid(path, name, names::qualified_name(name))
        }));
        errors.extend(duplicates(&path.child(key), meta::items(of, &[key]), Value::clone));
    }
    let (first, second) = (meta::items(of, &[wanted]), meta::items(of, &[fatal]));
    for (index, both) in second.iter().enumerate().filter(|(_, one)| first.contains(one)) {
        let detail = "bindingFailureConditions must not overlap with bindingConditions";
        errors.push(FieldError::invalid(&path.child(fatal).index(index), both.clone(), detail));
    }
    for (key, has, other, needs) in [(wanted, first, fatal, second), (fatal, second, wanted, first)] {
        if has.is_empty() && !needs.is_empty() {
            let detail = format!("{key} are required to use {other}");
            errors.push(FieldError::invalid(&path.child(key), has.to_vec(), detail));
        }
    }
    errors
}

#[cfg(test)]
mod tests;
