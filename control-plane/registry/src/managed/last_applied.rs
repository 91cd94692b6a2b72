//! The annotation by which `kubectl apply` without `--server-side` remembers what it applied.
//!
//! Two courtesies to the field manager of that name alone, as upstream's: what the annotation says and nobody has changed
//! since is no conflict, so that one can go over from the one way to the other; and the annotation is kept up, so that
//! one can go back.

use super::track::Track;
use crate::{meta, shape};
use keelson_schema::structured::{FieldPath, Place, compare, set_of};
use serde_json::Value;

/// The manager that kubectl names itself.
pub(super) const KUBECTL: &str = "kubectl";
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Upstream's `TotalAnnotationSizeLimitB`.
const ANNOTATIONS_BYTES_MAX: usize = 256 << 10;

/// The fields that the annotation names and that are still as it says.
pub(super) fn unchanged_since(track: &Track<'_>, live: &Value) -> Vec<FieldPath> {
    let text = meta::text(live, &["metadata", "annotations", ANNOTATION]);
    let Ok(last) = serde_json::from_str::<Value>(text) else { return Vec::new() };
    let Some(ty) = shape::type_of(track.kind, "") else { return Vec::new() };
    if meta::text(&last, &["apiVersion"]) != track.kind.api_version() {
        return Vec::new();
    }
    let since = compare(Place::of(ty), &last, live);
    let named = set_of(ty, &last);
    [&since.modified, &since.added, &since.removed]
        .into_iter()
        .fold(named, |left, changed| left.difference(changed))
        .paths()
}

/// Writes what is applied now into an annotation that is there.
pub(super) fn renew(object: &mut Value, config: &Value) {
    if meta::text(object, &["metadata", "annotations", ANNOTATION]).is_empty() {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(ANNOTATION);
    }
    // As Go writes JSON, with a newline: clients compare texts.
    let text = config.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) else {
        return;
    };
    annotations.insert(ANNOTATION.to_owned(), Value::String(text + "\n"));
    let size = |(key, value): (&String, &Value)| key.len() + value.as_str().map_or(0, str::len);
    if annotations.iter().map(size).sum::<usize>() > ANNOTATIONS_BYTES_MAX {
        annotations.remove(ANNOTATION);
    }
}
