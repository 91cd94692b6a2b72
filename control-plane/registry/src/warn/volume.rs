//! PersistentVolumes, and the sources of volumes that are no more.
//!
//! Rules: upstream's `pkg/api/persistentvolume/util.go`, on create and on update.

use super::{Notes, Place, annotation, claim::CLASS, node_labels};
use crate::meta;
use serde_json::Value;

const MOUNT_OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";

/// A PersistentVolume.
pub fn persistent(object: &Value, notes: &mut Notes) {
    annotation(object, CLASS.0, CLASS.1, notes);
    annotation(
        object,
        MOUNT_OPTIONS,
        r#"deprecated since v1.31; use "mountOptions" attribute instead"#,
        notes,
    );
    let place = Place::Root.field("spec");
    if meta::text(object, &["spec", "persistentVolumeReclaimPolicy"]) == "Recycle" {
        notes.add(
            &place.field("persistentVolumeReclaimPolicy"),
            "The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.",
        );
    }
    let terms = place.field("nodeAffinity.required.nodeSelectorTerms");
    let required = ["spec", "nodeAffinity", "required", "nodeSelectorTerms"];
    for (index, term) in meta::items(object, &required).iter().enumerate() {
        node_labels::expressions(&terms.index(index), term, notes);
    }
    source(&place, &object["spec"], notes);
}

/// The source of a volume, whose keys `parent` has among others.
pub(super) fn source(place: &Place<'_>, parent: &Value, notes: &mut Notes) {
    for (key, _) in meta::entries(parent, &[]).filter(|(_, source)| !source.is_null()) {
        if let Some((shown, text)) = gone(key) {
            notes.add(&place.field(shown), text);
        }
    }
}

/// How upstream writes the source, and what became of it. Of flocker and quobyte it says so only in pods.
fn gone(source: &str) -> Option<(&str, &'static str)> {
    Some(match source {
        "photonPersistentDisk" => (source, "deprecated in v1.11, non-functional in v1.16+"),
        "gitRepo" => (source, "deprecated in v1.11, and disabled by default in v1.33+"),
        "scaleIO" => (source, "deprecated in v1.16, non-functional in v1.22+"),
        "storageos" => ("storageOS", "deprecated in v1.22, non-functional in v1.25+"),
        "flocker" | "quobyte" => (source, "deprecated in v1.22, non-functional in v1.25+"),
        "glusterfs" => (source, "deprecated in v1.25, non-functional in v1.26+"),
        "cephfs" | "rbd" => (source, "deprecated in v1.28, non-functional in v1.31+"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_old_in_a_persistent_volume_is_warned_of() {
        let term = json!({"matchExpressions": [{"key": "beta.kubernetes.io/os"}]});
        let rows = [
            (json!({"spec": {"csi": {}}}), vec![]),
            (
                json!({"metadata": {"annotations": {MOUNT_OPTIONS: "ro"}}}),
                vec![
                    r#"metadata.annotations[volume.beta.kubernetes.io/mount-options]: deprecated since v1.31; use "mountOptions" attribute instead"#,
                ],
            ),
            (
                json!({"spec": {"persistentVolumeReclaimPolicy": "Recycle"}}),
                vec![
                    "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended \
                 approach is to use dynamic provisioning.",
                ],
            ),
            (
                json!({"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}}}),
                vec![
                    r#"spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].key: beta.kubernetes.io/os is deprecated since v1.14; use "kubernetes.io/os" instead"#,
                ],
            ),
            (
                json!({"spec": {"storageos": {}}}),
                vec!["spec.storageOS: deprecated in v1.22, non-functional in v1.25+"],
            ),
            (json!({"spec": {"rbd": {}}}), vec!["spec.rbd: deprecated in v1.28, non-functional in v1.31+"]),
        ];
        for (object, expected) in rows {
            let mut notes = Notes::default();
            persistent(&object, &mut notes);
            assert_eq!(notes.into_texts(), expected, "{object}");
        }
    }
}
