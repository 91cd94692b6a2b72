//! Label selectors in objects.
//!
//! Rules: upstream's `ValidateLabelSelector`.

use super::{Errors, meta::labels};
use crate::meta;
use keelson_schema::{FieldError, Path};
use keelson_semantics::{LabelSelector, label_selector::LabelSelectorSpec, names};
use serde::Deserialize;
use serde_json::{Map, Value};

/// A metav1 LabelSelector.
pub fn label_selector(path: &Path, selector: &Value) -> Errors {
    let mut errors = labels(&path.child("matchLabels"), selector.get("matchLabels"));
    for (index, term) in meta::items(selector, &["matchExpressions"]).iter().enumerate() {
        let path = path.child("matchExpressions").index(index);
        let values = meta::items(term, &["values"]);
        match meta::text(term, &["operator"]) {
            "In" | "NotIn" if values.is_empty() => errors.push(FieldError::required(
                &path.child("values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            )),
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.push(FieldError::forbidden(
                &path.child("values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.push(FieldError::invalid(
                &path.child("operator"),
                other,
                "not a valid selector operator",
            )),
        }
        let key = meta::text(term, &["key"]);
        errors.extend(super::meta::invalid(&path.child("key"), key, names::qualified_name(key)));
        for (index, value) in values.iter().enumerate() {
            let value = value.as_str().unwrap_or_default();
            let path = path.child("values").index(index);
            errors.extend(super::meta::invalid(&path, value, names::label_value(value)));
        }
    }
    errors
}

/// The selector in a form that matches; None when it is malformed.
pub fn parsed(selector: &Value) -> Option<LabelSelector> {
    let spec = LabelSelectorSpec::deserialize(selector).ok()?;
    LabelSelector::from_spec(&spec).ok()
}

/// Whether the selector selects an object with these labels.
pub fn selects(selector: &LabelSelector, labels: Option<&Value>) -> bool {
    let empty = Map::new();
    selector.matches(labels.and_then(Value::as_object).unwrap_or(&empty))
}
