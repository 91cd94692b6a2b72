//! VolumeAttributesClass: what a driver can change of a volume that exists.

use crate::{
    meta,
    strategy::{Call, Strategy},
    validate::{Errors, csi::driver_name},
};
use keelson_schema::{FieldError, Path};
use serde_json::Value;

const PARAMETERS_MAX: usize = 512;
/// Of all keys and values.
const PARAMETERS_BYTES_MAX: usize = 256 * 1024;

/// VolumeAttributesClass.
pub struct VolumeAttributesClass;

impl Strategy for VolumeAttributesClass {
    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        let mut errors = driver_name(&Path::new("driverName"), meta::text(object, &["driverName"]));
        let path = Path::new("parameters");
        let parameters: Vec<_> = meta::entries(object, &["parameters"]).collect();
        if parameters.is_empty() {
            errors.push(FieldError::required(&path, "must contain at least one key/value pair"));
        } else if parameters.len() > PARAMETERS_MAX {
            errors.push(FieldError::too_long(&path, PARAMETERS_MAX));
        }
        if parameters.iter().any(|(key, _)| key.is_empty()) {
            errors.push(FieldError::invalid(&path, "", "field can not be empty."));
        }
        let bytes: usize =
            parameters.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
        if bytes > PARAMETERS_BYTES_MAX {
            errors.push(FieldError::too_long(&path, PARAMETERS_BYTES_MAX));
        }
        errors
    }

    fn validate_update(&self, _call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        let changed = ["driverName", "parameters"].into_iter().filter(|key| new.get(*key) != old.get(*key));
        changed
            .map(|key| FieldError::forbidden(&Path::new(key), format!("updates to {key} are forbidden.")))
            .collect()
    }
}
