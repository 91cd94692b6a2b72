//! Aggregated discovery (`apidiscovery.k8s.io/v2`, KEP-3352): everything in one document.

use super::Group;
use keelson_registry::kind::Kind;
use serde_json::{Value, json};

pub(super) fn list(groups: &[&Group<'_>]) -> Value {
    let items: Vec<Value> = groups.iter().map(|g| group(g)).collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    })
}

fn group(group: &Group<'_>) -> Value {
    let versions: Vec<Value> = group
        .versions
        .iter()
        .map(|(version, kinds)| {
            let mut kinds = kinds.clone();
            kinds.sort_by(|a, b| a.plural.cmp(&b.plural));
            let resources: Vec<Value> = kinds.iter().map(|kind| resource(kind)).collect();
            json!({"version": version, "resources": resources, "freshness": "Current"})
        })
        .collect();
    let metadata = if group.name.is_empty() { json!({}) } else { json!({"name": group.name}) };
    json!({"metadata": metadata, "versions": versions})
}

fn resource(kind: &Kind) -> Value {
    let mut out = json!({
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": kind.verbs,
    });
    for (key, list) in [("shortNames", &kind.short_names), ("categories", &kind.categories)] {
        if !list.is_empty() {
            out[key] = json!(list);
        }
    }
    if !kind.subresources.is_empty() {
        let subresources: Vec<Value> = kind
            .subresources
            .iter()
            .map(|sub| {
                let (group, version, name) = sub.body.unwrap_or(kind.gvk());
                json!({
                    "subresource": sub.name,
                    "responseKind": {"group": group, "version": version, "kind": name},
                    "verbs": sub.verbs,
                })
            })
            .collect();
        out["subresources"] = json!(subresources);
    }
    out
}
