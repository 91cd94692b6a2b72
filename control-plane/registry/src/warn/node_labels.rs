//! Labels of nodes that have other names now.
//!
//! Rules: upstream's `pkg/api/node/util.go`.

use super::{Notes, Place};
use crate::meta;
use keelson_semantics::names;
use serde_json::Value;

/// What is to be said of a label.
pub(super) fn deprecated(key: &str) -> Option<&'static str> {
    Some(match key {
        "beta.kubernetes.io/arch" => r#"deprecated since v1.14; use "kubernetes.io/arch" instead"#,
        "beta.kubernetes.io/os" => r#"deprecated since v1.14; use "kubernetes.io/os" instead"#,
        "failure-domain.beta.kubernetes.io/region" => {
            r#"deprecated since v1.17; use "topology.kubernetes.io/region" instead"#
        }
        "failure-domain.beta.kubernetes.io/zone" => {
            r#"deprecated since v1.17; use "topology.kubernetes.io/zone" instead"#
        }
        "beta.kubernetes.io/instance-type" => {
            r#"deprecated since v1.17; use "node.kubernetes.io/instance-type" instead"#
        }
        _ => return None,
    })
}

/// A key that stands as a value, where its place does not show it.
pub(super) fn key(place: &Place<'_>, key: &str, notes: &mut Notes) {
    if let Some(text) = deprecated(key) {
        notes.add(place, format_args!("{key} is {text}"));
    }
}

/// `matchExpressions` of a term or selector.
pub(super) fn expressions(place: &Place<'_>, parent: &Value, notes: &mut Notes) {
    let place = place.field("matchExpressions");
    for (index, expression) in meta::items(parent, &["matchExpressions"]).iter().enumerate() {
        key(&place.index(index).field("key"), meta::text(expression, &["key"]), notes);
    }
}

/// Values in `matchExpressions` that no label can have: where nodes are merely preferred they are taken.
pub(super) fn values(place: &Place<'_>, term: &Value, notes: &mut Notes) {
    let place = place.field("matchExpressions");
    for (index, expression) in meta::items(term, &["matchExpressions"]).iter().enumerate() {
        let place = place.index(index);
        for (index, value) in meta::items(expression, &["values"]).iter().enumerate() {
            let value = value.as_str().unwrap_or_default();
            for problem in names::label_value(value) {
                notes.add(&place.field("values").index(index), format_args!("{value} is invalid, {problem}"));
            }
        }
    }
}

/// A label selector over nodes.
pub(super) fn selector(place: &Place<'_>, selector: &Value, notes: &mut Notes) {
    expressions(place, selector, notes);
    for (label, _) in meta::entries(selector, &["matchLabels"]) {
        if let Some(text) = deprecated(label) {
            notes.add(&place.field("matchLabels").field(label), text);
        }
    }
}
