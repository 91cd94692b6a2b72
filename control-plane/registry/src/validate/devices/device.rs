//! A device of a slice: its attributes, capacity, taints, and what it takes of shared counters.

use super::{
    binding_conditions,
    capacity::capacity,
    each, qualified,
    slice::{counters, same_set, ways},
    taint,
};
use crate::{meta, validate::Errors};
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use serde_json::Value;

/// Attributes and capacities together.
const PROPERTIES_MAX: usize = 32;
const TEXT_BYTES_MAX: usize = 64;
const TAINTS_MAX: usize = 16;
/// Sets of counters that a device takes from.
const CONSUMED_MAX: usize = 2;

/// All that is wrong with one. What is as it was `before` is not looked at again where rules have become stricter.
pub(super) fn device(path: &Path, device: &Value, before: Option<&Value>, per_device: bool) -> Errors {
    let name = meta::text(device, &["name"]);
    let mut errors = super::invalid(&path.child("name"), name, names::dns1123_label(name));
    let attributes: Vec<_> = meta::entries(device, &["attributes"]).collect();
    let capacities: Vec<_> = meta::entries(device, &["capacity"]).collect();
    let properties = attributes.len() + capacities.len();
    if properties > PROPERTIES_MAX {
        let detail =
            format!("the total number of attributes and capacities must not exceed {PROPERTIES_MAX}");
        errors.push(FieldError::invalid(path, properties, detail));
    }
    for (name, value) in attributes {
        let path = path.child("attributes");
        errors.extend(qualified(&path, name));
        errors.extend(attribute(&path.key(name), value));
    }
    let changed = |key: &str| before.is_none_or(|before| before.get(key) != device.get(key));
    if changed("capacity") {
        let shared = device.get("allowMultipleAllocations") == Some(&Value::Bool(true));
        for (name, value) in capacities {
            let path = path.child("capacity");
            errors.extend(qualified(&path, name));
            errors.extend(capacity(&path.key(name), value, shared));
        }
    }
    if changed("taints") {
        errors.extend(each(path, device, "taints", TAINTS_MAX, taint));
    }
    errors.extend(each(path, device, "consumesCounters", CONSUMED_MAX, |path, of| {
        counters(path, of, "counterSet")
    }));
    errors.extend(same_set(path, device));
    errors.extend(reach(path, device, per_device));
    errors.extend(binding_conditions(path, device));
    errors
}

fn reach(path: &Path, device: &Value, per_device: bool) -> Errors {
    let mut errors = Errors::new();
    if !per_device {
        let given = ["nodeName", "nodeSelector", "allNodes"].iter().any(|key| device.get(key).is_some());
        let detail = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is \
                      set to true in the ResourceSlice spec";
        errors.extend(given.then(|| FieldError::invalid(path, Value::Null, detail)));
        return errors;
    }
    let given = ways(path, device, "must not be empty", &mut errors);
    let detail = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when \
                  `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    match &given[..] {
        [] => errors.push(FieldError::required(path, detail)),
        [_] => {}
        several => errors.push(FieldError::invalid(path, format!("{{{}}}", several.join(", ")), detail)),
    }
    errors
}

fn attribute(path: &Path, attribute: &Value) -> Errors {
    let mut errors = Errors::new();
    for key in ["string", "version"] {
        let Some(text) = attribute.get(key).and_then(Value::as_str) else { continue };
        if key == "version" && semver::Version::parse(text).is_err() {
            let detail = "must be a string compatible with semver.org spec 2.0.0";
            errors.push(FieldError::invalid(&path.child(key), text, detail));
        }
        if text.len() > TEXT_BYTES_MAX {
            errors.push(FieldError::too_long(&path.child(key), TEXT_BYTES_MAX));
        }
    }
    let given =
        ["bool", "int", "string", "version"].iter().filter(|key| attribute.get(key).is_some()).count();
    if given != 1 {
        let shown = if given == 0 { Value::from("") } else { attribute.clone() };
        errors.push(FieldError::invalid(path, shown, "exactly one value must be specified"));
    }
    errors
}
