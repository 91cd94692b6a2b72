//! VolumeAttachment: that a volume is wanted at a node, and whether it is there. A CSI attacher writes the status.

use crate::{
    kinds::idle,
    meta,
    strategy::{Call, Strategy},
    validate::{
        Errors, claim,
        csi::driver_name,
        meta::{immutable, invalid},
    },
};
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use serde_json::{Value, json};

/// Of an error's message.
const MESSAGE_BYTES_MAX: usize = 1024;

/// VolumeAttachment.
pub struct VolumeAttachment;

impl Strategy for VolumeAttachment {
    fn unconditional_update(&self) -> bool {
        false
    }

    fn prepare_create(&self, _call: &Call<'_>, object: &mut Value) {
        meta::map_of(object).insert("status".to_owned(), json!({"attached": false}));
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        let (path, spec) = (Path::new("spec"), &object["spec"]);
        let mut errors = driver_name(&path.child("attacher"), meta::text(spec, &["attacher"]));
        errors.extend(source(&path.child("source"), &spec["source"]));
        let node = meta::text(spec, &["nodeName"]);
        errors.extend(invalid(&path.child("nodeName"), node, names::dns1123_subdomain(node)));
        errors
    }

    fn validate_update(&self, call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        let mut errors = self.validate(call, new);
        errors.extend(immutable(&Path::new("spec"), new.get("spec"), old.get("spec")));
        errors
    }

    /// Of the metadata only what the server keeps changes with the status.
    fn prepare_status(&self, _call: &Call<'_>, new: &mut Value, old: &Value) {
        for key in ["labels", "annotations", "finalizers", "ownerReferences"] {
            meta::carry(meta::metadata(new), key, meta::at(old, &["metadata", key]));
        }
    }

    fn validate_status(&self, _call: &Call<'_>, new: &Value, _old: &Value) -> Errors {
        let mut errors = Errors::new();
        for key in ["attachError", "detachError"] {
            if meta::text(new, &["status", key, "message"]).len() > MESSAGE_BYTES_MAX {
                let path = Path::new("status").child(key).child("message");
                errors.push(FieldError::too_long(&path, MESSAGE_BYTES_MAX));
            }
        }
        errors
    }

    fn warnings(&self, call: &Call<'_>, _new: &Value, old: Option<&Value>) -> Vec<String> {
        idle::warnings(call.kind, old)
    }
}

fn source(path: &Path, source: &Value) -> Errors {
    let exactly = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (meta::at(source, &["inlineVolumeSpec"]), meta::at(source, &["persistentVolumeName"])) {
        (None, None) => vec![FieldError::required(path, exactly)],
        (Some(_), Some(_)) => vec![FieldError::forbidden(path, exactly)],
        (None, Some(name)) if name.as_str() == Some("") => {
            let detail = "must specify non empty persistentVolumeName";
            vec![FieldError::required(&path.child("persistentVolumeName"), detail)]
        }
        (None, Some(_)) => Errors::new(),
        (Some(inline), None) => claim::access_modes(&path.child("inlineVolumeSpec.accessModes"), inline),
    }
}
