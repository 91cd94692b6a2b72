//! PodDisruptionBudget: how many pods of a set may be missing because somebody wants so. Evictions ask it (`ops`).
//!
//! Rules: upstream's `pkg/apis/policy/validation`.

use super::idle;
use crate::{
    meta,
    strategy::{Call, NameRule, Strategy},
    validate::{
        Errors, non_negative, one_of,
        selector::label_selector,
        workload::{at_most_all, share},
        wrong,
    },
};
use keelson_schema::Path;
use serde_json::{Value, json};

/// PodDisruptionBudget.
pub struct PodDisruptionBudget;

impl Strategy for PodDisruptionBudget {
    /// Upstream checks no more of it.
    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn prepare_create(&self, _call: &Call<'_>, object: &mut Value) {
        let status =
            json!({"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0});
        meta::map_of(object).insert("status".to_owned(), status);
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        let (path, spec) = (Path::new("spec"), &object["spec"]);
        let bounds = ["minAvailable", "maxUnavailable"];
        let mut errors = Errors::new();
        if bounds.iter().all(|key| meta::at(spec, &[key]).is_some()) {
            errors.push(wrong(&path, "minAvailable and maxUnavailable cannot be both set"));
        }
        for key in bounds {
            errors.extend(share(&path.child(key), &spec[key]));
            errors.extend(at_most_all(&path.child(key), &spec[key]));
        }
        if let Some(selector) = meta::at(spec, &["selector"]) {
            errors.extend(label_selector(&path.child("selector"), selector));
        }
        let policies = ["AlwaysAllow", "IfHealthyBudget"];
        errors.extend(one_of(&path, spec, "unhealthyPodEvictionPolicy", &policies));
        errors
    }

    fn validate_status(&self, _call: &Call<'_>, new: &Value, _old: &Value) -> Errors {
        let counts = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];
        let path = Path::new("status");
        counts.iter().filter_map(|key| non_negative(&path, &new["status"], key)).collect()
    }

    fn warnings(&self, call: &Call<'_>, _new: &Value, old: Option<&Value>) -> Vec<String> {
        idle::warnings(call.kind, old)
    }
}
