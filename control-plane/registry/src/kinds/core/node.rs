//! Node: its pod range stays once given; the status comes from the node itself, also on create.

use crate::{
    meta,
    strategy::{Call, Strategy},
    validate::{Errors, meta::invalid},
};
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use serde_json::{Value, json};

/// Node.
pub struct Node;

impl Strategy for Node {
    fn keeps_status_on_create(&self) -> bool {
        true
    }

    fn prepare_create(&self, _call: &Call<'_>, object: &mut Value) {
        pair_ranges(object);
    }

    fn prepare_update(&self, _call: &Call<'_>, new: &mut Value, _old: &Value) {
        pair_ranges(new);
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        let mut errors = taints(&Path::new("spec.taints"), meta::items(object, &["spec", "taints"]));
        for (index, range) in meta::items(object, &["spec", "podCIDRs"]).iter().enumerate() {
            let range = range.as_str().unwrap_or_default();
            if range.parse::<ipnet::IpNet>().is_err() {
                let path = Path::new("spec.podCIDRs").index(index);
                errors.push(FieldError::invalid(
                    &path,
                    range,
                    "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
                ));
            }
        }
        errors
    }

    fn validate_update(&self, call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        let mut errors = self.validate(call, new);
        let frozen = |key: &str, detail: &str| {
            let before = meta::at(old, &["spec", key]);
            let changed = before.is_some() && before != meta::at(new, &["spec", key]);
            changed.then(|| FieldError::forbidden(&Path::new("spec").child(key), detail))
        };
        errors.extend(frozen("podCIDRs", "node updates may not change podCIDR except from \"\" to valid"));
        errors
            .extend(frozen("providerID", "node updates may not change providerID except from \"\" to valid"));
        errors
    }
}

/// spec.podCIDR is the first of spec.podCIDRs, whichever was written.
fn pair_ranges(object: &mut Value) {
    let single = meta::text(object, &["spec", "podCIDR"]).to_owned();
    let first = meta::items(object, &["spec", "podCIDRs"]).first().cloned();
    let Some(spec) = object.get_mut("spec") else { return };
    match first {
        None if !single.is_empty() => {
            meta::map_of(spec).insert("podCIDRs".to_owned(), json!([single]));
        }
        Some(first) if single.is_empty() => {
            meta::map_of(spec).insert("podCIDR".to_owned(), first);
        }
        _ => {}
    }
}

fn taints(path: &Path, list: &[Value]) -> Errors {
    let mut errors = Errors::new();
    let mut seen = Vec::new();
    for (index, taint) in list.iter().enumerate() {
        let path = path.index(index);
        let (key, value) = (meta::text(taint, &["key"]), meta::text(taint, &["value"]));
        errors.extend(invalid(&path.child("key"), key, names::qualified_name(key)));
        errors.extend(invalid(&path.child("value"), value, names::label_value(value)));
        let effect = meta::text(taint, &["effect"]);
        let known = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        if effect.is_empty() {
            errors.push(FieldError::required(&path.child("effect"), ""));
        } else if !known.contains(&effect) {
            errors.push(FieldError::not_supported(&path.child("effect"), effect, &known));
        }
        if seen.contains(&(key, effect)) {
            let detail = "taints must be unique by key and effect pair";
            let mut error = FieldError::duplicate(&path, taint.clone());
            error.detail = format!("{}: {detail}", error.detail);
            errors.push(error);
        }
        seen.push((key, effect));
    }
    errors
}
