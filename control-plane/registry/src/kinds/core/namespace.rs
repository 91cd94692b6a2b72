//! Namespace: goes when its own finalizers, kept in spec, are gone; those are written through `finalize`.

use crate::{
    meta,
    strategy::{Call, NameRule, Strategy},
    validate::{Errors, meta::finalizer_name},
};
use keelson_schema::Path;
use serde_json::{Value, json};

/// The finalizer that the namespace controller removes.
const KUBERNETES: &str = "kubernetes";
/// Lets selectors name a namespace.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Namespace.
pub struct Namespace;

impl Strategy for Namespace {
    fn name_rule(&self) -> NameRule {
        NameRule::Label
    }

    fn prepare_create(&self, _call: &Call<'_>, object: &mut Value) {
        meta::map_of(object).insert("status".to_owned(), json!({"phase": "Active"}));
        let mut finalizers = meta::items(object, &["spec", "finalizers"]).to_vec();
        if !finalizers.contains(&json!(KUBERNETES)) {
            finalizers.push(json!(KUBERNETES));
        }
        set_finalizers(object, Some(&Value::Array(finalizers)));
        set_name_label(object);
    }

    fn prepare_update(&self, call: &Call<'_>, new: &mut Value, old: &Value) {
        if call.sub != "finalize" {
            set_finalizers(new, old.pointer("/spec/finalizers"));
        }
        set_name_label(new);
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        let path = Path::new("spec.finalizers");
        let finalizers = meta::items(object, &["spec", "finalizers"]).iter().enumerate();
        finalizers
            .flat_map(|(index, name)| finalizer_name(&path.index(index), name.as_str().unwrap_or_default()))
            .collect()
    }

    fn on_deleting(&self, object: &mut Value) {
        // Upstream deletes namespaces its own way, in which there is no grace.
        meta::set(object, "deletionGracePeriodSeconds", None);
        let status = meta::map_of(object).entry("status").or_insert_with(|| json!({}));
        meta::map_of(status).insert("phase".to_owned(), json!("Terminating"));
    }

    fn held(&self, object: &Value) -> bool {
        !meta::items(object, &["spec", "finalizers"]).is_empty()
    }
}

fn set_finalizers(object: &mut Value, finalizers: Option<&Value>) {
    let spec = meta::map_of(object).entry("spec").or_insert_with(|| json!({}));
    meta::carry(meta::map_of(spec), "finalizers", finalizers);
}

fn set_name_label(object: &mut Value) {
    let name = json!(meta::field(object, "name"));
    let labels = meta::metadata(object).entry("labels").or_insert_with(|| json!({}));
    meta::map_of(labels).insert(NAME_LABEL.to_owned(), name);
}
