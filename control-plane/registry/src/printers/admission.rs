//! Admission policies and their bindings.

use super::text::name;
use crate::meta;
use keelson_semantics::{LabelSelector, label_selector::LabelSelectorSpec};
use serde::Deserialize;
use serde_json::{Value, json};

/// What stands for a field that is not given.
const UNSET: &str = "<unset>";

/// A policy; `what` are its validations or mutations.
pub(super) fn policy(object: &Value, what: &str, age: Value) -> Vec<Value> {
    let kind = match meta::at(object, &["spec", "paramKind"]) {
        Some(kind) => format!("{}/{}", meta::text(kind, &["apiVersion"]), meta::text(kind, &["kind"])),
        None => UNSET.to_owned(),
    };
    vec![name(object), json!(meta::items(object, &["spec", what]).len()), json!(kind), age]
}

/// A binding.
pub(super) fn binding(object: &Value, age: Value) -> Vec<Value> {
    let reference = meta::at(object, &["spec", "paramRef"]).map_or(UNSET.to_owned(), param_ref);
    vec![name(object), json!(meta::text(object, &["spec", "policyName"])), json!(reference), age]
}

fn param_ref(reference: &Value) -> String {
    let (namespace, name) = (meta::text(reference, &["namespace"]), meta::text(reference, &["name"]));
    if name.is_empty() {
        let selector = meta::at(reference, &["selector"])
            .and_then(|selector| LabelSelectorSpec::deserialize(selector).ok());
        let selector = selector.and_then(|selector| LabelSelector::from_spec(&selector).ok());
        return selector.map(|selector| selector.to_string()).unwrap_or_default();
    }
    format!("{}/{name}", if namespace.is_empty() { "*" } else { namespace })
}
