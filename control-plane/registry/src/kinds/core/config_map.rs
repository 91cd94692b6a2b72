//! ConfigMap: keys are file names, all in all 1 MiB, immutable when it says so.

use crate::{
    meta,
    strategy::{Call, Strategy},
    validate::{Errors, meta::invalid},
};
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use serde_json::Value;

/// Upstream's MaxSecretSize, which holds for both.
pub(super) const DATA_BYTES_MAX: usize = 1024 * 1024;

/// ConfigMap.
pub struct ConfigMap;

impl Strategy for ConfigMap {
    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        let mut errors = Errors::new();
        let mut bytes = 0;
        for map in ["data", "binaryData"] {
            for (key, value) in meta::entries(object, &[map]) {
                let path = Path::new(map).key(key);
                errors.extend(invalid(&path, key, names::config_map_key(key)));
                if map == "data" && meta::at(object, &["binaryData", key]).is_some() {
                    let detail = "duplicate of key present in binaryData";
                    errors.push(FieldError::invalid(&path, key.as_str(), detail));
                }
                let length = value.as_str().map_or(0, str::len);
                bytes += if map == "data" { length } else { length / 4 * 3 };
            }
        }
        if bytes > DATA_BYTES_MAX {
            errors.push(FieldError::too_long(&Path::root(), DATA_BYTES_MAX));
        }
        errors
    }

    fn validate_update(&self, call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        let mut errors = sealed(new, old, &["data", "binaryData"]);
        errors.extend(self.validate(call, new));
        errors
    }
}

/// What `immutable: true` forbids, for ConfigMaps and Secrets.
pub(super) fn sealed(new: &Value, old: &Value, keys: &[&str]) -> Errors {
    let mut errors = Errors::new();
    if old.get("immutable") != Some(&Value::Bool(true)) {
        return errors;
    }
    let detail = "field is immutable when `immutable` is set";
    if new.get("immutable") != Some(&Value::Bool(true)) {
        errors.push(FieldError::forbidden(&Path::new("immutable"), detail));
    }
    for key in keys {
        if new.get(*key) != old.get(*key) {
            errors.push(FieldError::forbidden(&Path::new(*key), detail));
        }
    }
    errors
}
