//! Kinds that are kept and served while nothing here carries them out yet: whoever creates one is told so.
//!
//! A kind leaves the list with the controller that acts on it; the README's limits name the same kinds.

use crate::kind::Kind;
use serde_json::Value;

/// Group, resource, and what does not happen.
const IDLE: &[(&str, &str, &str)] = &[
    ("", "persistentvolumes", "no claim is bound to it"),
    ("apps", "daemonsets", "no pods are made"),
    ("apps", "statefulsets", "no pods are made"),
    ("autoscaling", "horizontalpodautoscalers", "nothing is scaled"),
    ("batch", "cronjobs", "no jobs are made"),
    ("batch", "jobs", "no pods are made"),
    ("policy", "poddisruptionbudgets", "the status is not computed, so pods that it covers are not evicted"),
    ("resource.k8s.io", "deviceclasses", "no claim is allocated by it"),
    ("resource.k8s.io", "resourceclaims", "nothing is allocated, so pods that name it are not scheduled"),
    (
        "resource.k8s.io",
        "resourceclaimtemplates",
        "no claims are made, so pods that name it are not scheduled",
    ),
    ("storage.k8s.io", "volumeattachments", "nothing is attached, unless an attacher of yours does"),
];

/// The warning that goes with a new object of such a kind.
pub(crate) fn warnings(kind: &Kind, old: Option<&Value>) -> Vec<String> {
    let row = IDLE.iter().find(|(group, plural, _)| (*group, *plural) == kind.resource());
    match (row, old) {
        (Some((_, plural, what)), None) => {
            vec![format!("{plural} have no controller in this cluster yet: {what}")]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::KindTable;

    #[test]
    fn every_kind_without_a_controller_is_served_and_named_among_the_limits() {
        let readme = include_str!("../../../../README.md");
        let limits = readme.split("\n## Limits\n").nth(1).expect("the README has limits");
        for (group, plural, _) in IDLE {
            let table = KindTable::builtin();
            let kind = table.iter().find(|kind| kind.resource() == (*group, *plural));
            let kind = kind.unwrap_or_else(|| panic!("{plural} are not served"));
            assert!(limits.contains(&*kind.kind), "README.md, Limits: {} has no controller", kind.kind);
            assert_eq!(warnings(kind, None).len(), 1);
            assert!(warnings(kind, Some(&Value::Null)).is_empty());
        }
    }
}
