//! StorageClasses, CSIStorageCapacities and RuntimeClasses: what names nodes by old labels.
//!
//! Rules: upstream's `pkg/api/storage/util.go` and `pkg/api/node/util.go`, on create and on update.

use super::{Notes, Place, node_labels};
use crate::meta;
use serde_json::Value;

/// A StorageClass.
pub fn class(object: &Value) -> Vec<String> {
    let mut notes = Notes::default();
    let all = Place::Root.field("allowedTopologies");
    for (index, topology) in meta::items(object, &["allowedTopologies"]).iter().enumerate() {
        let place = all.index(index);
        let place = place.field("matchLabelExpressions");
        for (index, expression) in meta::items(topology, &["matchLabelExpressions"]).iter().enumerate() {
            if let Some(text) = node_labels::deprecated(meta::text(expression, &["key"])) {
                notes.add(&place.index(index).field("key"), text);
            }
        }
    }
    notes.into_texts()
}

/// A CSIStorageCapacity.
pub fn capacity(object: &Value) -> Vec<String> {
    let mut notes = Notes::default();
    node_labels::selector(&Place::Root.field("nodeTopology"), &object["nodeTopology"], &mut notes);
    notes.into_texts()
}

/// A RuntimeClass.
pub fn runtime_class(object: &Value) -> Vec<String> {
    let mut notes = Notes::default();
    for (label, _) in meta::entries(object, &["scheduling", "nodeSelector"]) {
        if let Some(text) = node_labels::deprecated(label) {
            notes.add(&Place::Root.field("scheduling.nodeSelector"), text);
        }
    }
    notes.into_texts()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn old_labels_of_nodes_are_warned_of() {
        let (zone, arch) = ("failure-domain.beta.kubernetes.io/zone", "beta.kubernetes.io/arch");
        let topologies = json!([{"matchLabelExpressions": [{"key": "a"}, {"key": zone}]}]);
        assert_eq!(
            class(&json!({ "allowedTopologies": topologies })),
            [
                r#"allowedTopologies[0].matchLabelExpressions[1].key: deprecated since v1.17; use "topology.kubernetes.io/zone" instead"#
            ]
        );
        let topology = json!({"matchExpressions": [{"key": zone}], "matchLabels": {arch: "arm"}});
        assert_eq!(
            capacity(&json!({ "nodeTopology": topology })),
            [
                r#"nodeTopology.matchExpressions[0].key: failure-domain.beta.kubernetes.io/zone is deprecated since v1.17; use "topology.kubernetes.io/zone" instead"#,
                r#"nodeTopology.matchLabels.beta.kubernetes.io/arch: deprecated since v1.14; use "kubernetes.io/arch" instead"#,
            ]
        );
        assert_eq!(
            runtime_class(&json!({"scheduling": {"nodeSelector": {arch: "arm"}}})),
            [r#"scheduling.nodeSelector: deprecated since v1.14; use "kubernetes.io/arch" instead"#]
        );
    }
}
