//! Whether something is in use: what the API says of pods, claims and volumes, and nothing else. Pure.
//!
//! Rules: "Storage Object in Use Protection" in the Kubernetes documentation on persistent volumes; upstream's `pvcprotection`,
//! `pvprotection` and `vacprotection`.

use keelson_harness::views::Pod;
use serde_json::Value;

/// What is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A PersistentVolumeClaim that a pod on a node names.
    Claim,
    /// A PersistentVolume that is bound.
    Volume,
    /// A VolumeAttributesClass that a claim or a volume names.
    AttributesClass,
}

impl Kind {
    /// What holds the object until nothing uses it.
    pub(crate) const fn finalizer(self) -> &'static str {
        match self {
            Self::Claim => "kubernetes.io/pvc-protection",
            Self::Volume => "kubernetes.io/pv-protection",
            Self::AttributesClass => "kubernetes.io/vac-protection",
        }
    }
}

/// Whether a pod uses the claim of this name in its namespace. One without a node does not: no node starts a pod whose claim goes.
/// One that has ended still does, until it is deleted.
pub(crate) fn uses_claim(pod: &Pod, claim: &str) -> bool {
    // A generic ephemeral volume is read by its own name; its claim is called after the pod, too.
    let ephemeral = claim.strip_prefix(&*pod.metadata.name).and_then(|rest| rest.strip_prefix('-'));
    let names = |known: &String| known == claim || Some(known.as_str()) == ephemeral;
    !pod.node_name.is_empty() && pod.spec.claims.iter().any(names)
}

/// Whether a volume is in use.
pub(crate) fn is_bound(volume: &Value) -> bool {
    volume["status"]["phase"] == "Bound"
}

/// Whether a claim or a volume names the class, has it, or is on its way to it.
pub(crate) fn uses_class(object: &Value, class: &str) -> bool {
    let places = [
        "/spec/volumeAttributesClassName",
        "/status/currentVolumeAttributesClassName",
        "/status/modifyVolumeStatus/targetVolumeAttributesClassName",
    ];
    places.iter().any(|place| object.pointer(place).and_then(Value::as_str) == Some(class))
}

/// What the finalizers become; None where they are right. An object that does not go has ours, one that goes has it while in use.
pub(crate) fn finalizers(
    kind: Kind,
    present: &[Box<str>],
    is_deleting: bool,
    in_use: bool,
) -> Option<Vec<&str>> {
    let ours = kind.finalizer();
    let has = present.iter().any(|name| **name == *ours);
    let others = present.iter().map(|name| &**name).filter(|name| *name != ours);
    match (has, is_deleting) {
        (true, true) if !in_use => Some(others.collect()),
        (false, false) => Some(others.chain([ours]).collect()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_claim_is_used_by_pods_on_nodes() {
        let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}, {"name": "scratch", "ephemeral": {}}]);
        let pod = |node: &str, phase: &str| -> Pod {
            let text = json!({"metadata": {"name": "p"}, "spec": {"nodeName": node, "volumes": volumes}, "status": {"phase": phase}});
            serde_json::from_str(&text.to_string()).unwrap()
        };
        let rows = [
            ("n", "Running", "data", true),
            ("n", "Succeeded", "data", true),
            ("", "Pending", "data", false),
            ("n", "Running", "other", false),
            ("n", "Running", "p-scratch", true),
            ("n", "Running", "p-other", false),
        ];
        for (node, phase, claim, expected) in rows {
            assert_eq!(uses_claim(&pod(node, phase), claim), expected, "{node} {phase} {claim}");
        }
    }

    #[test]
    fn a_finalizer_is_there_while_it_is_needed() {
        let ours = Kind::Claim.finalizer();
        let list = |names: &[&str]| names.iter().map(|name| Box::from(*name)).collect::<Vec<Box<str>>>();
        let rows = [
            (vec![], false, false, Some(vec![ours])),
            (vec!["a"], false, true, Some(vec!["a", ours])),
            (vec![ours], false, false, None),
            (vec![ours, "a"], true, false, Some(vec!["a"])),
            (vec![ours], true, true, None),
            (vec!["a"], true, false, None),
        ];
        for (present, is_deleting, in_use, expected) in rows {
            let present = list(&present);
            assert_eq!(finalizers(Kind::Claim, &present, is_deleting, in_use), expected, "{present:?}");
        }
    }

    #[test]
    fn a_class_is_used_by_what_names_it() {
        assert!(uses_class(&json!({"spec": {"volumeAttributesClassName": "gold"}}), "gold"));
        assert!(uses_class(&json!({"status": {"currentVolumeAttributesClassName": "gold"}}), "gold"));
        let target = json!({"status": {"modifyVolumeStatus": {"targetVolumeAttributesClassName": "gold"}}});
        assert!(uses_class(&target, "gold") && !uses_class(&target, "silver"));
        assert!(!uses_class(&json!({"spec": {}}), "gold"));
    }
}
