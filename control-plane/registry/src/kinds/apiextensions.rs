//! CustomResourceDefinition: which kinds there are beside the built-in ones.
//!
//! Here what a write may set; `validate::apiextensions` says what is wrong with one, `custom` what it leads to. Names and
//! conditions are accepted by the API server itself (`custom::names`), as upstream's controllers in it do.

use crate::{
    custom::{CLEANUP_FINALIZER, names},
    meta,
    strategy::{Call, Strategy},
    validate::{Errors, apiextensions},
};
use serde_json::{Value, json};

/// CustomResourceDefinition.
pub struct CustomResourceDefinition;

fn storage_version(object: &Value) -> &str {
    let versions = meta::items(object, &["spec", "versions"]);
    let storage = versions.iter().find(|version| version.get("storage") == Some(&Value::Bool(true)));
    storage.map_or("", |version| meta::text(version, &["name"]))
}

impl Strategy for CustomResourceDefinition {
    fn has_generation(&self) -> bool {
        true
    }

    fn prepare_create(&self, _call: &Call<'_>, object: &mut Value) {
        let stored: Vec<&str> =
            Some(storage_version(object)).filter(|name| !name.is_empty()).into_iter().collect();
        object["status"] = json!({
            "acceptedNames": {"kind": "", "plural": ""}, "conditions": [], "storedVersions": stored,
        });
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        apiextensions::definition(object)
    }

    /// Whatever a version stores from now on is among the stored ones.
    fn prepare_update(&self, _call: &Call<'_>, new: &mut Value, _old: &Value) {
        let storage = storage_version(new).to_owned();
        let stored = meta::items(new, &["status", "storedVersions"]);
        if !storage.is_empty() && stored.iter().all(|name| name.as_str() != Some(&storage)) {
            let mut stored = stored.to_vec();
            stored.push(json!(storage));
            new["status"]["storedVersions"] = Value::Array(stored);
        }
    }

    fn validate_update(&self, _call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        apiextensions::change(new, old)
    }

    fn prepare_status(&self, _call: &Call<'_>, new: &mut Value, old: &Value) {
        let metadata = meta::metadata(new);
        for key in ["labels", "annotations", "finalizers", "ownerReferences"] {
            meta::carry(metadata, key, meta::at(old, &["metadata", key]));
        }
    }

    fn validate_status(&self, _call: &Call<'_>, new: &Value, _old: &Value) -> Errors {
        apiextensions::status(new)
    }

    /// Its objects go first.
    fn held(&self, object: &Value) -> bool {
        !meta::deleting(object)
    }

    fn on_deleting(&self, object: &mut Value) {
        let mut finalizers = meta::finalizers(object);
        if finalizers.contains(&CLEANUP_FINALIZER) {
            return;
        }
        finalizers.push(CLEANUP_FINALIZER);
        let finalizers = json!(finalizers);
        meta::set(object, "finalizers", Some(finalizers));
        let now = meta::field(object, "deletionTimestamp").to_owned();
        let mut conditions = meta::items(object, &["status", "conditions"]).to_vec();
        let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will be initiated as soon as possible";
        names::set(&mut conditions, "Terminating", "True", "InstanceDeletionPending", message, &now);
        object["status"]["conditions"] = Value::Array(conditions);
    }
}
