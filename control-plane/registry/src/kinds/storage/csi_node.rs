//! CSINode: which drivers a node has. What is said of a driver stays while it is there, but for how many volumes it takes.

use crate::{
    meta,
    strategy::{Call, Strategy},
    validate::{Errors, csi::driver_name, meta::invalid, non_negative},
};
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use serde_json::Value;

/// By the CSI specification.
const NODE_ID_BYTES_MAX: usize = 192;

/// CSINode.
pub struct CsiNode;

impl Strategy for CsiNode {
    fn unconditional_update(&self) -> bool {
        false
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        let path = Path::new("spec.drivers");
        let mut errors = Errors::new();
        let mut seen = Vec::new();
        for (index, driver) in meta::items(object, &["spec", "drivers"]).iter().enumerate() {
            let path = path.index(index);
            let name = meta::text(driver, &["name"]);
            errors.extend(driver_name(&path.child("name"), name));
            if seen.contains(&name) {
                errors.push(FieldError::duplicate(&path.child("name"), name));
            }
            seen.push(name);
            errors.extend(self::driver(&path, driver));
        }
        errors
    }

    fn validate_update(&self, call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        let mut errors = self.validate(call, new);
        let fixed = |driver: &Value| {
            let mut driver = driver.clone();
            meta::map_of(&mut driver).remove("allocatable");
            driver
        };
        let before = meta::items(old, &["spec", "drivers"]);
        for (index, driver) in meta::items(new, &["spec", "drivers"]).iter().enumerate() {
            let same = before.iter().find(|old| old.get("name") == driver.get("name"));
            if same.is_some_and(|old| fixed(old) != fixed(driver)) {
                let path = Path::new("spec.drivers").index(index);
                errors.push(FieldError::invalid(&path, driver.clone(), "field is immutable"));
            }
        }
        errors
    }
}

fn driver(path: &Path, driver: &Value) -> Errors {
    let mut errors = Errors::new();
    let id = meta::text(driver, &["nodeID"]);
    let own = path.child("nodeID");
    if id.is_empty() {
        errors.push(FieldError::required(&own, ""));
    } else if id.len() > NODE_ID_BYTES_MAX {
        let detail = format!("must be {NODE_ID_BYTES_MAX} characters or less");
        errors.push(FieldError::invalid(&own, id, detail));
    }
    errors.extend(non_negative(&path.child("allocatable"), &driver["allocatable"], "count"));
    let keys = meta::items(driver, &["topologyKeys"]);
    for (index, key) in keys.iter().enumerate() {
        let path = path.child("topologyKeys").index(index);
        let text = key.as_str().unwrap_or_default();
        if text.is_empty() {
            errors.push(FieldError::required(&path, ""));
        } else if keys[..index].contains(key) {
            errors.push(FieldError::duplicate(&path, text));
        }
        errors.extend(invalid(&path, text, names::qualified_name(text)));
    }
    errors
}
