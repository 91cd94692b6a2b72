//! How much of something a device has, and in which amounts claims that share it take it.

use crate::{
    meta,
    validate::{Errors, resources::quantity},
};
use keelson_schema::{FieldError, Path};
use keelson_semantics::Quantity;
use serde_json::Value;

const VALUES_MAX: usize = 10;

/// All that is wrong with one; only a device that several claims share has a policy.
pub(super) fn capacity(path: &Path, capacity: &Value, shared: bool) -> Errors {
    let Some(policy) = meta::at(capacity, &["requestPolicy"]) else { return Errors::new() };
    let path = path.child("requestPolicy");
    if !shared {
        return vec![FieldError::forbidden(&path, "allowMultipleAllocations must be true")];
    }
    let (values, range) = (meta::items(policy, &["validValues"]), meta::at(policy, &["validRange"]));
    let key = match (values.is_empty(), range) {
        (false, Some(_)) => {
            let detail = "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" \
                          at the same time";
            return vec![FieldError::forbidden(&path, detail)];
        }
        (true, None) => return Errors::new(),
        (false, None) => "validValues",
        (true, Some(_)) => "validRange",
    };
    let Some(default) = meta::at(policy, &["default"]) else {
        let detail = format!("required when {key} is defined");
        return vec![FieldError::required(&path.child("default"), detail)];
    };
    let bounds = Bounds { default, most: &capacity["value"] };
    match range {
        Some(range) => bounds.range(&path.child(key), range),
        None => bounds.values(&path.child(key), values),
    }
}

struct Bounds<'a> {
    default: &'a Value,
    most: &'a Value,
}

fn amount(value: &Value) -> Quantity {
    quantity(value).unwrap_or_default()
}

fn shown(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

impl Bounds<'_> {
    fn values(&self, path: &Path, values: &[Value]) -> Errors {
        if values.len() > VALUES_MAX {
            return vec![FieldError::too_many(path, values.len(), VALUES_MAX)];
        }
        let mut errors = Errors::new();
        for (index, value) in values.iter().enumerate() {
            let path = path.index(index);
            if index > 0 && amount(&values[index - 1]) > amount(value) {
                let detail = "values must be sorted in ascending order";
                errors.push(FieldError::invalid(&path, value.clone(), detail));
            }
            if amount(value) > amount(self.most) {
                let detail = format!("option is larger than capacity value: {}", shown(self.most));
                errors.push(FieldError::invalid(&path, value.clone(), detail));
            }
            if values[..index].iter().any(|earlier| amount(earlier) == amount(value)) {
                errors.push(FieldError::duplicate(&path, value.clone()));
            }
        }
        if !values.iter().any(|value| amount(value) == amount(self.default)) {
            let detail = "default value is not valid according to the requestPolicy";
            errors.push(FieldError::invalid(path, self.default.clone(), detail));
        }
        errors
    }

    fn range(&self, path: &Path, range: &Value) -> Errors {
        let Some(min) = meta::at(range, &["min"]) else {
            return vec![FieldError::required(&path.child("min"), "required when validRange is defined")];
        };
        let mut errors = Errors::new();
        let mut check = |wrong: bool, key: &str, value: &Value, what: &str, other: &str| {
            if wrong {
                let detail = format!("{what}: {other}");
                errors.push(FieldError::invalid(&path.child(key), value.clone(), detail));
            }
        };
        let (least, most, default) = (amount(min), amount(self.most), amount(self.default));
        check(least > most, "min", min, "min is larger than capacity value", shown(self.most));
        check(default < least, "default", self.default, "default is less than min", shown(min));
        let max = meta::at(range, &["max"]);
        if let Some(max) = max {
            check(least > amount(max), "max", min, "min is larger than max", shown(max));
            check(amount(max) > most, "max", max, "max is larger than capacity value", shown(self.most));
            check(default > amount(max), "default", self.default, "default is more than max", shown(max));
        }
        if let Some(step) = meta::at(range, &["step"]) {
            errors.extend(self.step(&path.child("step"), step, min, max));
        }
        errors
    }

    fn step(&self, path: &Path, step: &Value, min: &Value, max: Option<&Value>) -> Errors {
        let width = amount(step).value();
        if width <= 0 {
            return vec![FieldError::invalid(path, step.clone(), "must be greater than zero")];
        }
        let mut errors = Errors::new();
        let first = amount(min) + amount(step);
        if first > amount(self.most) {
            let detail = format!("one step {first} is larger than capacity value: {}", shown(self.most));
            errors.push(FieldError::invalid(path, step.clone(), detail));
        }
        for value in std::iter::once(self.default).chain(max) {
            if amount(value).value().saturating_sub(amount(min).value()) % width != 0 {
                let (step, min) = (shown(step), shown(min));
                let detail = format!("value is not a multiple of a given step ({step}) from ({min})");
                errors.push(FieldError::invalid(path, value.clone(), detail));
            }
        }
        errors
    }
}
