//! The spec of a PersistentVolumeClaim, of its own or of a template.
//!
//! Rules: upstream's `ValidatePersistentVolumeClaimSpec`.

use super::{Errors, one_of, resources};
use crate::meta;
use keelson_schema::{FieldError, Path};
use serde_json::Value;

/// How a volume may be mounted.
pub const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// All that is wrong with a claim.
pub fn spec(path: &Path, spec: &Value) -> Errors {
    let mut errors = access_modes(&path.child("accessModes"), spec);
    let storage = path.child("resources").key("storage");
    match meta::at(spec, &["resources", "requests", "storage"]) {
        None => errors.push(FieldError::required(&storage, "")),
        Some(amount) => errors.extend(positive(&storage, amount)),
    }
    errors.extend(one_of(path, spec, "volumeMode", &["Block", "Filesystem"]));
    errors
}

/// `spec.accessModes`, of claims and of volumes.
pub fn access_modes(path: &Path, spec: &Value) -> Errors {
    let modes = meta::items(spec, &["accessModes"]);
    let mut errors = Errors::new();
    if modes.is_empty() {
        errors.push(FieldError::required(path, "at least 1 access mode is required"));
    }
    for mode in modes.iter().filter_map(Value::as_str).filter(|mode| !ACCESS_MODES.contains(mode)) {
        errors.push(FieldError::not_supported(path, mode, ACCESS_MODES));
    }
    if modes.len() > 1 && modes.iter().any(|mode| mode == "ReadWriteOncePod") {
        let detail = "may not use ReadWriteOncePod with other access modes";
        errors.push(FieldError::forbidden(path, detail));
    }
    errors
}

/// An amount over zero.
pub fn positive(path: &Path, amount: &Value) -> Option<FieldError> {
    let is_positive = resources::quantity(amount).is_some_and(|q| !q.is_negative() && !q.is_zero());
    (!is_positive).then(|| FieldError::invalid(path, amount.clone(), "must be greater than zero"))
}
