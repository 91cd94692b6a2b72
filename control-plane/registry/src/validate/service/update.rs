//! What of a Service may not change: the first address and family, the class of a load balancer.

use super::super::Errors;
use super::needs::{self, is_headless, kind};
use crate::meta;
use keelson_schema::{FieldError, Path};
use serde_json::{Value, json};

const FIXED: &str = "may not change once set";

/// A second address or family may come and go, the first stays, unless the type becomes or was ExternalName.
pub fn update(new: &Value, old: &Value) -> Errors {
    let mut errors = addresses(new, old);
    errors.extend(families(new, old));
    errors.extend(class(new, old));
    errors.extend(health_port(new, old));
    errors.extend(super::service(new, Some(old)));
    errors
}

fn was_or_is_external_name(new: &Value, old: &Value) -> bool {
    kind(new) == "ExternalName" || kind(old) == "ExternalName"
}

fn addresses(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    if was_or_is_external_name(new, old) || is_headless(new) && is_headless(old) {
        return errors;
    }
    let path = Path::new("spec.clusterIPs");
    let (after, before) = (needs::ips(new), needs::ips(old));
    let changed = |index: usize| FieldError::invalid(&path.index(index), json!(after), FIXED);
    if after.is_empty() && !before.is_empty() {
        let detail = "primary clusterIP can not be unset";
        errors.push(FieldError::invalid(&path.index(0), json!(after), detail));
    } else if after.len() == before.len() {
        let differ = after.iter().zip(&before).enumerate().filter(|(_, (after, before))| after != before);
        errors.extend(differ.map(|(index, _)| changed(index)));
    } else if !before.is_empty() && after[0] != before[0] {
        errors.push(changed(0));
    }
    if after.len() == 1 && before.len() > 1 {
        errors.extend(must_be_single(new, "releasing the secondary clusterIP"));
    }
    errors
}

fn families(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    if was_or_is_external_name(new, old) || is_headless(new) || is_headless(old) {
        return errors;
    }
    let path = Path::new("spec.ipFamilies").index(0);
    let (after, before) = (needs::families(new), needs::families(old));
    let same_length = after.len() == before.len();
    if same_length && after != before || !same_length && !after.is_empty() && after.first() != before.first()
    {
        if !before.is_empty() {
            errors.push(FieldError::invalid(&path, json!(after), FIXED));
        }
    } else if after.is_empty() && !before.is_empty() {
        errors.push(FieldError::invalid(&path, json!(after), "primary ipFamily can not be unset"));
    }
    if after.len() == 1 && before.len() > 1 {
        errors.extend(must_be_single(new, "releasing the secondary ipFamily"));
    }
    errors
}

fn must_be_single(new: &Value, when: &str) -> Option<FieldError> {
    let policy = needs::family_policy(new);
    (policy != "SingleStack").then(|| {
        let detail = format!("must be set to 'SingleStack' when {when}");
        FieldError::invalid(&Path::new("spec.ipFamilyPolicy"), policy, detail)
    })
}

fn class(new: &Value, old: &Value) -> Option<FieldError> {
    let of = |object| meta::at(object, &["spec", "loadBalancerClass"]);
    let both = kind(new) == "LoadBalancer" && kind(old) == "LoadBalancer";
    let path = Path::new("spec.loadBalancerClass");
    (both && of(new) != of(old))
        .then(|| FieldError::invalid(&path, of(new).cloned().unwrap_or_default(), FIXED))
}

fn health_port(new: &Value, old: &Value) -> Option<FieldError> {
    let (after, before) = (needs::health_port(new), needs::health_port(old));
    let kept = needs::needs_health_port(new) && needs::needs_health_port(old);
    let path = Path::new("spec.healthCheckNodePort");
    (kept && before != 0 && after != before).then(|| FieldError::invalid(&path, after, "field is immutable"))
}
