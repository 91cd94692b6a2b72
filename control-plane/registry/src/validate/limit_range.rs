//! LimitRanges: bounds that do not contradict each other.
//!
//! Rules: upstream's `ValidateLimitRange`.

use super::{Errors, meta::invalid, resources};
use crate::meta;
use keelson_schema::{FieldError, Path};
use keelson_semantics::{Quantity, names};
use serde_json::Value;
use std::collections::BTreeSet;

const TYPES: &[&str] = &["Pod", "Container", "PersistentVolumeClaim"];
const LISTS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];

/// A LimitRange.
pub fn limit_range(object: &Value) -> Errors {
    let mut errors = Errors::new();
    let mut seen = Vec::new();
    for (index, limit) in meta::items(object, &["spec", "limits"]).iter().enumerate() {
        let path = Path::new("spec.limits").index(index);
        let kind = meta::text(limit, &["type"]);
        errors.extend(type_name(&path.child("type"), kind));
        if seen.contains(&kind) {
            errors.push(FieldError::duplicate(&path.child("type"), kind));
        }
        seen.push(kind);
        errors.extend(item(&path, limit, kind));
    }
    errors
}

fn type_name(path: &Path, kind: &str) -> Errors {
    let mut errors = invalid(path, kind, names::qualified_name(kind));
    if !kind.contains('/') && !TYPES.contains(&kind) {
        let detail = "must be a standard limit type or fully qualified";
        errors.push(FieldError::invalid(path, kind, detail));
    }
    errors
}

fn item(path: &Path, limit: &Value, kind: &str) -> Errors {
    let mut errors = Errors::new();
    let mut keys = BTreeSet::new();
    for list in LISTS {
        if kind == "Pod" && list.starts_with("default") && meta::entries(limit, &[list]).next().is_some() {
            let detail = "may not be specified when `type` is 'Pod'";
            errors.push(FieldError::forbidden(&path.child(list), detail));
            continue;
        }
        for (key, _) in meta::entries(limit, &[list]) {
            keys.insert(key.as_str());
            errors.extend(invalid(&path.child(list).key(key), key, names::qualified_name(key)));
        }
    }
    let is_bounded = |list: &str| meta::at(limit, &[list, "storage"]).is_some();
    if kind == "PersistentVolumeClaim" && !is_bounded("min") && !is_bounded("max") {
        let detail = "either minimum or maximum storage value is required, but neither was provided";
        errors.push(FieldError::required(&path.child("limits"), detail));
    }
    for key in keys {
        errors.extend(order(path, limit, key));
        errors.extend(ratio(path, limit, key));
    }
    errors
}

fn amount<'a>(limit: &'a Value, list: &str, key: &str) -> Option<(&'a str, Quantity)> {
    let value = meta::at(limit, &[list, key])?;
    Some((value.as_str()?, resources::quantity(value)?))
}

/// Each is not over the next: the minimum, what is asked for by default, the default limit, the maximum.
fn order(path: &Path, limit: &Value, key: &str) -> Errors {
    // (the smaller, the larger, the list that is named, the words for both).
    const PAIRS: [(&str, &str, &str, [&str; 2]); 6] = [
        ("min", "max", "min", ["min", "max"]),
        ("min", "defaultRequest", "defaultRequest", ["min", "default request"]),
        ("defaultRequest", "max", "defaultRequest", ["default request", "max"]),
        ("defaultRequest", "default", "defaultRequest", ["default request", "default limit"]),
        ("min", "default", "default", ["min", "default"]),
        ("default", "max", "default", ["default", "max"]),
    ];
    let mut errors = Errors::new();
    for (small, large, named, words) in PAIRS {
        let (Some(low), Some(high)) = (amount(limit, small, key), amount(limit, large, key)) else {
            continue;
        };
        if low.1 > high.1 {
            let detail =
                format!("{} value {} is greater than {} value {}", words[0], low.0, words[1], high.0);
            let shown = limit[named][key].clone();
            errors.push(FieldError::invalid(&path.child(named).key(key), shown, detail));
        }
    }
    errors
}

fn ratio(path: &Path, limit: &Value, key: &str) -> Errors {
    let Some((text, ratio)) = amount(limit, "maxLimitRequestRatio", key) else { return Errors::new() };
    let path = path.child("maxLimitRequestRatio").key(key);
    let mut errors = Errors::new();
    if ratio.as_f64() < 1.0 {
        errors.push(FieldError::invalid(&path, text, format!("ratio {text} is less than 1")));
    }
    if let (Some((_, min)), Some((_, max))) = (amount(limit, "min", key), amount(limit, "max", key))
        && !min.is_zero()
    {
        let most = max.as_f64() / min.as_f64();
        if ratio.as_f64() > most {
            let detail = format!("ratio {text} is greater than max/min = {most:.6}");
            errors.push(FieldError::invalid(&path, text, detail));
        }
    }
    errors
}
