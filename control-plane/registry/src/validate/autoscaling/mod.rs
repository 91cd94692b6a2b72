//! HorizontalPodAutoscalers: bounds, target, metrics, behaviour.
//!
//! Rules: upstream's `pkg/apis/autoscaling/validation`.

mod behavior;
mod metrics;

use super::{Errors, meta::invalid};
use crate::meta;
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use serde_json::Value;

/// The spec of autoscaling/v2.
pub fn spec(spec: &Value) -> Errors {
    let path = Path::new("spec");
    let mut errors = Errors::new();
    let (least, most) = (meta::number(spec, &["minReplicas"]), meta::number(spec, &["maxReplicas"]));
    let most = most.unwrap_or_default();
    if let Some(least) = least.filter(|least| *least < 1) {
        let detail = "must be greater than or equal to 1";
        errors.push(FieldError::invalid(&path.child("minReplicas"), least, detail));
    }
    if most < 1 {
        errors.push(FieldError::invalid(&path.child("maxReplicas"), most, "must be greater than 0"));
    }
    if least.is_some_and(|least| most < least) {
        let detail = "must be greater than or equal to `minReplicas`";
        errors.push(FieldError::invalid(&path.child("maxReplicas"), most, detail));
    }
    errors.extend(reference(&path.child("scaleTargetRef"), &spec["scaleTargetRef"]));
    for (index, metric) in meta::items(spec, &["metrics"]).iter().enumerate() {
        errors.extend(metrics::metric(&path.child("metrics").index(index), metric));
    }
    if let Some(given) = meta::at(spec, &["behavior"]) {
        errors.extend(behavior::behavior(&path.child("behavior"), given));
    }
    errors
}

/// A reference by kind and name.
fn reference(path: &Path, reference: &Value) -> Errors {
    let mut errors = Errors::new();
    for key in ["kind", "name"] {
        let text = meta::text(reference, &[key]);
        if text.is_empty() {
            errors.push(FieldError::required(&path.child(key), ""));
        } else {
            errors.extend(invalid(&path.child(key), text, names::path_segment(text)));
        }
    }
    errors
}
