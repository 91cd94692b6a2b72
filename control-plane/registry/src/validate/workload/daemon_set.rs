//! DaemonSets.

use super::{at_most_all, is_zero, never_ending, selected, share, template};
use crate::{
    meta,
    validate::{Errors, non_negative},
};
use keelson_schema::{FieldError, Path};
use serde_json::Value;

/// A DaemonSet's spec.
pub fn daemon_set_spec(spec: &Value) -> Errors {
    let path = Path::new("spec");
    let mut errors = selected(&path, spec, "empty selector is invalid for daemonset");
    let pods = path.child("template");
    errors.extend(template(&pods, &spec["template"]));
    errors.extend(never_ending(&pods, &spec["template"], "DaemonSet"));
    errors.extend(non_negative(&path, spec, "minReadySeconds"));
    errors.extend(update_strategy(&path.child("updateStrategy"), &spec["updateStrategy"]));
    errors.extend(non_negative(&path, spec, "revisionHistoryLimit"));
    errors
}

fn update_strategy(path: &Path, strategy: &Value) -> Errors {
    match (meta::text(strategy, &["type"]), meta::at(strategy, &["rollingUpdate"])) {
        ("OnDelete", _) => Errors::new(),
        ("RollingUpdate", None) => vec![FieldError::required(&path.child("rollingUpdate"), "")],
        ("RollingUpdate", Some(rolling)) => rolling_update(&path.child("rollingUpdate"), rolling),
        (other, _) => {
            vec![FieldError::not_supported(&path.child("type"), other, &["RollingUpdate", "OnDelete"])]
        }
    }
}

/// A pod of the old sort goes first, or one of the new sort comes first; never both, never neither.
fn rolling_update(path: &Path, rolling: &Value) -> Errors {
    let (down, up) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
    let (down_path, up_path) = (path.child("maxUnavailable"), path.child("maxSurge"));
    let mut errors = share(&down_path, down);
    errors.extend(share(&up_path, up));
    match (is_zero(down), is_zero(up)) {
        (false, false) => {
            let detail = "may not be set when maxUnavailable is non-zero";
            errors.push(FieldError::invalid(&up_path, up.clone(), detail));
        }
        (true, true) => {
            errors.push(FieldError::required(&down_path, "cannot be 0 when maxSurge is 0"));
        }
        _ => {}
    }
    errors.extend(at_most_all(&down_path, down));
    errors.extend(at_most_all(&up_path, up));
    errors
}
