//! The APIServices of our own groups and versions: which there must be. Pure; upstream's `autoregister` and its table of
//! priorities (`kube-apiserver/app/aggregator.go`).

use keelson_registry::{KindTable, meta};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Marks objects that the server keeps: `onstart` for groups of its own, `true` for those of custom resources.
const AUTOMANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
/// Group and version priority of custom resources.
const CUSTOM: (i64, i64) = (1000, 100);
/// groupPriorityMinimum by group, versionPriority by version where it is not the usual 15.
const GROUPS: [(&str, i64); 20] = [
    ("", 18_000),
    ("apps", 17_800),
    ("events.k8s.io", 17_750),
    ("authentication.k8s.io", 17_700),
    ("authorization.k8s.io", 17_600),
    ("autoscaling", 17_500),
    ("batch", 17_400),
    ("certificates.k8s.io", 17_300),
    ("networking.k8s.io", 17_200),
    ("policy", 17_100),
    ("rbac.authorization.k8s.io", 17_000),
    ("storage.k8s.io", 16_800),
    ("apiextensions.k8s.io", 16_700),
    ("admissionregistration.k8s.io", 16_700),
    ("scheduling.k8s.io", 16_600),
    ("coordination.k8s.io", 16_500),
    ("node.k8s.io", 16_300),
    ("discovery.k8s.io", 16_200),
    ("flowcontrol.apiserver.k8s.io", 16_100),
    ("resource.k8s.io", 15_900),
];

/// One change that brings the objects to what they must be.
#[derive(Debug, PartialEq)]
pub(super) enum Change {
    Create(Value),
    /// Of an APIService by its name.
    Delete(String),
}

/// What is missing of the APIServices of `table`, and what is left of custom groups that are gone.
pub(super) fn plan(table: &KindTable, existing: &[Value]) -> Vec<Change> {
    let wanted = wanted(table);
    let known = |name: &str| existing.iter().any(|object| meta::field(object, "name") == name);
    let missing =
        wanted.iter().filter(|(name, _)| !known(name)).map(|(_, object)| Change::Create(object.clone()));
    let gone = existing.iter().filter(|object| {
        meta::text(object, &["metadata", "labels", AUTOMANAGED]) == "true"
            && !wanted.contains_key(meta::field(object, "name"))
    });
    missing.chain(gone.map(|object| Change::Delete(meta::field(object, "name").to_owned()))).collect()
}

fn wanted(table: &KindTable) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for kind in table.iter().filter(|kind| kind.group != super::routes::GROUP) {
        let (group, version) = (&*kind.group, &*kind.version);
        all.entry(format!("{version}.{group}")).or_insert_with(|| api_service(group, version));
    }
    all
}

fn api_service(group: &str, version: &str) -> Value {
    let own = GROUPS.iter().find(|(known, _)| *known == group);
    let (group_priority, version_priority) = match (own, group, version) {
        (None, ..) => CUSTOM,
        (Some((_, priority)), "", _) => (*priority, 1),
        (Some((_, priority)), "autoscaling", "v2") => (*priority, 30),
        (Some((_, priority)), "flowcontrol.apiserver.k8s.io", _) => (*priority, 21),
        (Some((_, priority)), ..) => (*priority, 15),
    };
    let managed = if own.is_some() { "onstart" } else { "true" };
    json!({
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": format!("{version}.{group}"), "labels": {AUTOMANAGED: managed}},
        "spec": {
            "group": group, "version": version,
            "groupPriorityMinimum": group_priority, "versionPriority": version_priority,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_of_our_own_has_its_api_service_and_gone_ones_go() {
        let table = KindTable::builtin();
        let all = plan(&table, &[]);
        let names: Vec<&str> = all
            .iter()
            .map(|change| match change {
                Change::Create(object) => meta::field(object, "name"),
                Change::Delete(name) => name,
            })
            .collect();
        assert!(names.contains(&"v1.") && names.contains(&"v2.autoscaling"), "{names:?}");
        assert!(!names.contains(&"v1.apiregistration.k8s.io"), "{names:?}");
        // A group of the program without a priority would pass for a custom one.
        for change in &all {
            let Change::Create(object) = change else { panic!("{change:?}") };
            assert_eq!(object["metadata"]["labels"][AUTOMANAGED], "onstart", "{object}");
        }
        let mut existing: Vec<Value> = all
            .into_iter()
            .map(|change| match change {
                Change::Create(object) => object,
                Change::Delete(name) => panic!("{name}"),
            })
            .collect();
        assert_eq!(plan(&table, &existing), []);
        existing.push(api_service("widgets.example.com", "v1"));
        let mut foreign = api_service("other.example.com", "v1");
        foreign["metadata"]["labels"] = json!({});
        existing.push(foreign);
        assert_eq!(plan(&table, &existing), [Change::Delete("v1.widgets.example.com".to_owned())]);
    }
}
