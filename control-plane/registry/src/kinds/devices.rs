//! The kinds of resource.k8s.io. Drivers write what devices there are, users what they want; nobody brings the two together yet
//! (`idle`), and the scheduler leaves pods with claims where they are.

use super::idle;
use crate::{
    meta,
    strategy::{Call, Strategy},
    validate::{
        Errors, devices as rules,
        meta::{annotations, immutable, labels},
    },
};
use keelson_schema::Path;
use serde_json::Value;

/// DeviceClass.
pub struct DeviceClass;

/// ResourceClaim.
pub struct ResourceClaim;

/// ResourceClaimTemplate.
pub struct ResourceClaimTemplate;

/// ResourceSlice.
pub struct ResourceSlice;

impl Strategy for DeviceClass {
    fn has_generation(&self) -> bool {
        true
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        rules::class(&object["spec"])
    }

    fn warnings(&self, call: &Call<'_>, _new: &Value, old: Option<&Value>) -> Vec<String> {
        idle::warnings(call.kind, old)
    }
}

impl Strategy for ResourceClaim {
    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        rules::claim_spec(&Path::new("spec"), &object["spec"])
    }

    fn validate_update(&self, _call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        immutable(&Path::new("spec"), new.get("spec"), old.get("spec")).into_iter().collect()
    }

    /// What drivers said of devices goes with their allocation.
    fn prepare_status(&self, _call: &Call<'_>, new: &mut Value, old: &Value) {
        let allocated = |object: &Value| -> Vec<Value> {
            let results = meta::items(object, &["status", "allocation", "devices", "results"]);
            results.iter().map(rules::identity).collect()
        };
        let (before, now) = (allocated(old), allocated(new));
        let gone = |device: &Value| {
            let identity = rules::identity(device);
            before.contains(&identity) && !now.contains(&identity)
        };
        if let Some(devices) = new.pointer_mut("/status/devices").and_then(Value::as_array_mut) {
            devices.retain(|device| !gone(device));
            if devices.is_empty() {
                meta::map_of(&mut new["status"]).remove("devices");
            }
        }
    }

    fn validate_status(&self, _call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        rules::status(new, old)
    }

    fn warnings(&self, call: &Call<'_>, _new: &Value, old: Option<&Value>) -> Vec<String> {
        idle::warnings(call.kind, old)
    }
}

impl Strategy for ResourceClaimTemplate {
    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        let (path, spec) = (Path::new("spec"), &object["spec"]);
        let metadata = path.child("metadata");
        let mut errors = labels(&metadata.child("labels"), meta::at(spec, &["metadata", "labels"]));
        errors.extend(annotations(&metadata.child("annotations"), spec));
        errors.extend(rules::claim_spec(&path.child("spec"), &spec["spec"]));
        errors
    }

    fn validate_update(&self, _call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        immutable(&Path::new("spec"), new.get("spec"), old.get("spec")).into_iter().collect()
    }

    fn warnings(&self, call: &Call<'_>, _new: &Value, old: Option<&Value>) -> Vec<String> {
        idle::warnings(call.kind, old)
    }
}

impl Strategy for ResourceSlice {
    fn has_generation(&self) -> bool {
        true
    }

    fn prepare_create(&self, call: &Call<'_>, object: &mut Value) {
        prepare(call, object);
    }

    fn prepare_update(&self, call: &Call<'_>, new: &mut Value, _old: &Value) {
        prepare(call, new);
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        rules::slice(object, None)
    }

    fn validate_update(&self, _call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        rules::slice(new, Some(old))
    }
}

/// Taints get the time that they come without. A stock server leaves out what its alpha features alone know: lists as
/// attributes, and devices that count as a node's resources.
fn prepare(call: &Call<'_>, slice: &mut Value) {
    let devices = slice.pointer_mut("/spec/devices").and_then(Value::as_array_mut);
    for device in devices.into_iter().flatten() {
        meta::map_of(device).remove("nodeAllocatableResourceMappings");
        for taint in device.get_mut("taints").and_then(Value::as_array_mut).into_iter().flatten() {
            meta::map_of(taint).entry("timeAdded").or_insert_with(|| meta::time_text(call.now));
        }
        let attributes = device.get_mut("attributes").and_then(Value::as_object_mut);
        for attribute in attributes.into_iter().flat_map(serde_json::Map::values_mut) {
            for key in ["bools", "ints", "strings", "versions"] {
                meta::map_of(attribute).remove(key);
            }
        }
    }
}
