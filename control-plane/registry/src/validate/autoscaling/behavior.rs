//! How fast an autoscaler may go.

use crate::{
    meta,
    validate::{Errors, one_of, resources},
};
use keelson_schema::{FieldError, Path};
use serde_json::Value;

const WINDOW_MAX_S: i64 = 3600;
const PERIOD_MAX_S: i64 = 1800;

/// spec.behavior.
pub(super) fn behavior(path: &Path, behavior: &Value) -> Errors {
    let given = ["scaleUp", "scaleDown"].into_iter().filter(|key| meta::at(behavior, &[key]).is_some());
    given.flat_map(|key| rules(&path.child(key), &behavior[key])).collect()
}

fn rules(path: &Path, rules: &Value) -> Errors {
    let mut errors = Errors::new();
    let own = path.child("stabilizationWindowSeconds");
    match meta::number(rules, &["stabilizationWindowSeconds"]) {
        Some(window) if window < 0 => {
            errors.push(FieldError::invalid(&own, window, "must be greater than or equal to zero"));
        }
        Some(window) if window > WINDOW_MAX_S => {
            errors.push(FieldError::invalid(
                &own,
                window,
                format!("must be less than or equal to {WINDOW_MAX_S}"),
            ));
        }
        _ => {}
    }
    errors.extend(one_of(path, rules, "selectPolicy", &["Disabled", "Max", "Min"]));
    let (own, policies) = (path.child("policies"), meta::items(rules, &["policies"]));
    if policies.is_empty() {
        errors.push(FieldError::required(&own, "must specify at least one Policy"));
    }
    for (index, policy) in policies.iter().enumerate() {
        errors.extend(self::policy(&own.index(index), policy));
    }
    if let Some(tolerance) = meta::at(rules, &["tolerance"])
        && resources::quantity(tolerance).is_some_and(|tolerance| tolerance.is_negative())
    {
        let detail = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(&path.child("tolerance"), tolerance.clone(), detail));
    }
    errors
}

fn policy(path: &Path, policy: &Value) -> Errors {
    let mut errors: Errors = one_of(path, policy, "type", &["Percent", "Pods"]).into_iter().collect();
    for key in ["value", "periodSeconds"] {
        let number = meta::number(policy, &[key]).unwrap_or_default();
        if number <= 0 {
            errors.push(FieldError::invalid(&path.child(key), number, "must be greater than zero"));
        }
    }
    let period = meta::number(policy, &["periodSeconds"]).unwrap_or_default();
    if period > PERIOD_MAX_S {
        let detail = format!("must be less than or equal to {PERIOD_MAX_S}");
        errors.push(FieldError::invalid(&path.child("periodSeconds"), period, detail));
    }
    errors
}
