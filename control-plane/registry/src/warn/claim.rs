//! PersistentVolumeClaims, and the templates of such.
//!
//! Rules: upstream's `pkg/api/persistentvolumeclaim/util.go`.

use super::{Notes, Place, amount, annotation};
use crate::meta;
use serde_json::Value;

/// The annotation that was a class's name before there was a field, and what is said of it.
pub(super) const CLASS: (&str, &str) = (
    "volume.beta.kubernetes.io/storage-class",
    r#"deprecated since v1.8; use "storageClassName" attribute instead"#,
);

/// A claim, on create and on update.
pub fn claim(object: &Value) -> Vec<String> {
    let mut notes = Notes::default();
    annotation(object, CLASS.0, CLASS.1, &mut notes);
    spec(&Place::Root.field("spec"), &object["spec"], &mut notes);
    notes.into_texts()
}

/// The spec of a claim.
pub fn spec(place: &Place<'_>, spec: &Value, notes: &mut Notes) {
    let place = place.field("resources");
    for list in ["requests", "limits"] {
        amount::whole(&place.field(list), meta::at(spec, &["resources", list]), "storage", notes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parts_of_bytes_and_the_old_annotation_are_warned_of() {
        let whole = json!({"spec": {"resources": {"requests": {"storage": "200Mi"}}}});
        assert!(claim(&whole).is_empty());
        let odd = json!({
            "metadata": {"annotations": {CLASS.0: "fast"}},
            "spec": {"resources": {"requests": {"storage": "200m"}, "limits": {"storage": "1.5"}}},
        });
        assert_eq!(
            claim(&odd),
            [
                r#"metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use "storageClassName" attribute instead"#,
                r#"spec.resources.requests[storage]: fractional byte value "200m" is invalid, must be an integer"#,
                r#"spec.resources.limits[storage]: fractional byte value "1500m" is invalid, must be an integer"#,
            ]
        );
    }
}
