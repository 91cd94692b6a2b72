//! CSIDriver: how the cluster is to treat one driver's volumes.

use crate::{
    meta,
    strategy::{Call, Strategy},
    validate::{Errors, at_least, csi::driver_name, meta::immutable, one_of},
};
use keelson_schema::{FieldError, Path};
use serde_json::Value;

/// Bounds of a token's life, as of TokenRequest.
const TOKEN_MIN_S: i64 = 600;
const TOKEN_MAX_S: i64 = 1 << 32;
const UPDATE_PERIOD_MIN_S: i64 = 10;

/// CSIDriver.
pub struct CsiDriver;

impl Strategy for CsiDriver {
    fn unconditional_update(&self) -> bool {
        false
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        let (path, spec) = (Path::new("spec"), &object["spec"]);
        let mut errors = driver_name(&Path::new("metadata.name"), meta::field(object, "name"));
        for key in ["attachRequired", "podInfoOnMount", "storageCapacity", "seLinuxMount"] {
            if meta::at(spec, &[key]).is_none() {
                errors.push(FieldError::required(&path.child(key), ""));
            }
        }
        let policies = ["File", "None", "ReadWriteOnceWithFSType"];
        errors.extend(one_of(&path, spec, "fsGroupPolicy", &policies));
        errors.extend(tokens(&path.child("tokenRequests"), spec));
        for mode in meta::items(spec, &["volumeLifecycleModes"]) {
            let known = ["Ephemeral", "Persistent"];
            if !mode.as_str().is_some_and(|mode| known.contains(&mode)) {
                let path = path.child("volumeLifecycleModes");
                errors.push(FieldError::not_supported(&path, mode.clone(), &known));
            }
        }
        errors.extend(at_least(&path, spec, "nodeAllocatableUpdatePeriodSeconds", UPDATE_PERIOD_MIN_S));
        errors
    }

    fn validate_update(&self, call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        let mut errors = self.validate(call, new);
        for key in ["attachRequired", "volumeLifecycleModes"] {
            let path = Path::new("spec").child(key);
            errors.extend(immutable(&path, meta::at(new, &["spec", key]), meta::at(old, &["spec", key])));
        }
        errors
    }
}

fn tokens(path: &Path, spec: &Value) -> Errors {
    let mut errors = Errors::new();
    let mut seen = Vec::new();
    for (index, token) in meta::items(spec, &["tokenRequests"]).iter().enumerate() {
        let path = path.index(index);
        let audience = meta::text(token, &["audience"]);
        if seen.contains(&audience) {
            errors.push(FieldError::duplicate(&path.child("audience"), audience));
        }
        seen.push(audience);
        let own = path.child("expirationSeconds");
        match meta::number(token, &["expirationSeconds"]) {
            Some(seconds) if seconds < TOKEN_MIN_S => {
                let detail = "may not specify a duration less than 10 minutes";
                errors.push(FieldError::invalid(&own, seconds, detail));
            }
            Some(seconds) if seconds > TOKEN_MAX_S => {
                let detail = "may not specify a duration larger than 2^32 seconds";
                errors.push(FieldError::invalid(&own, seconds, detail));
            }
            _ => {}
        }
    }
    errors
}
