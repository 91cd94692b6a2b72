//! Which requests a policy is about (`matchConstraints`, `matchResources`): rules and selectors.
//!
//! Rules: upstream's `validateMatchResources`, `validateNamedRuleWithOperations`.

use super::{Errors, one_of, selector::label_selector, webhook::rule_with_operations};
use crate::meta;
use keelson_schema::{FieldError, Path};
use serde_json::Value;

/// A MatchResources.
pub fn match_resources(path: &Path, given: &Value) -> Errors {
    let mut errors: Errors =
        one_of(path, given, "matchPolicy", &["Equivalent", "Exact"]).into_iter().collect();
    for key in ["namespaceSelector", "objectSelector"] {
        if let Some(selector) = meta::at(given, &[key]) {
            errors.extend(label_selector(&path.child(key), selector));
        }
    }
    for key in ["resourceRules", "excludeResourceRules"] {
        for (index, rule) in meta::items(given, &[key]).iter().enumerate() {
            let path = path.child(key).index(index);
            errors.extend(names(&path.child("resourceNames"), rule));
            errors.extend(rule_with_operations(&path, rule));
        }
    }
    errors
}

fn names(path: &Path, rule: &Value) -> Errors {
    let items = meta::items(rule, &["resourceNames"]);
    let mut errors = Errors::new();
    for (index, name) in items.iter().enumerate() {
        let (path, text) = (path.index(index), name.as_str().unwrap_or_default());
        errors.extend(super::meta::invalid(&path, text, keelson_semantics::names::path_segment(text)));
        if items[..index].contains(name) {
            errors.push(FieldError::duplicate(&path, text));
        }
    }
    errors
}
