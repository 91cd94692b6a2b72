//! The discovery documents of each path: APIVersions, APIGroupList, APIGroup, APIResourceList.

use super::{Group, group_version};
use base64::{Engine, engine::general_purpose::STANDARD};
use keelson_registry::kind::{Kind, Subresource};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// So much of the hash is shown, as upstream does (`endpoints/discovery/storageversionhash.go`): clients compare it with
/// what they have seen before, and some with what they work out themselves.
const STORAGE_VERSION_HASH_BYTES: usize = 8;

pub(super) fn api_versions(core: &[&Group<'_>], address: &str) -> Value {
    let versions: Vec<&str> = core.iter().flat_map(|g| g.versions.iter().map(|(v, _)| *v)).collect();
    json!({
        "kind": "APIVersions",
        "versions": versions,
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

pub(super) fn api_group_list(groups: &[&Group<'_>]) -> Value {
    let groups: Vec<Value> = groups.iter().map(|g| api_group(g)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

pub(super) fn api_group_document(group: &Group<'_>) -> Value {
    let mut document = api_group(group);
    document["kind"] = json!("APIGroup");
    document["apiVersion"] = json!("v1");
    document
}

fn api_group(group: &Group<'_>) -> Value {
    let versions: Vec<Value> = group
        .versions
        .iter()
        .map(|(version, _)| json!({"groupVersion": group_version(group.name, version), "version": version}))
        .collect();
    json!({"name": group.name, "preferredVersion": versions.first(), "versions": versions})
}

pub(super) fn api_resource_list(group: &str, version: &str, kinds: &[&Arc<Kind>]) -> Value {
    let mut resources = Vec::new();
    for kind in kinds {
        resources.push(resource(kind));
        resources.extend(kind.subresources.iter().map(|sub| subresource(kind, sub)));
    }
    resources.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version(group, version),
        "resources": resources,
    })
}

fn resource(kind: &Kind) -> Value {
    let mut out = Map::new();
    out.insert("name".into(), json!(kind.plural));
    out.insert("singularName".into(), json!(kind.singular));
    out.insert("namespaced".into(), json!(kind.namespaced));
    out.insert("kind".into(), json!(kind.kind));
    out.insert("verbs".into(), json!(kind.verbs));
    for (key, list) in [("shortNames", &kind.short_names), ("categories", &kind.categories)] {
        if !list.is_empty() {
            out.insert(key.into(), json!(list));
        }
    }
    if let Some((group, version, kind)) = kind.storage_version() {
        out.insert("storageVersionHash".into(), json!(storage_version_hash(group, version, kind)));
    }
    Value::Object(out)
}

fn storage_version_hash(group: &str, version: &str, kind: &str) -> String {
    let hash = Sha256::digest(format!("{group}/{version}/{kind}"));
    STANDARD.encode(&hash[..STORAGE_VERSION_HASH_BYTES])
}

/// Group and version are named only where they differ from the parent's.
fn subresource(kind: &Kind, sub: &Subresource) -> Value {
    let mut out = json!({
        "name": format!("{}/{}", kind.plural, sub.name),
        "singularName": "",
        "namespaced": kind.namespaced,
        "kind": sub.body.map_or(&*kind.kind, |(_, _, kind)| kind),
        "verbs": sub.verbs,
    });
    if let Some((group, version, _)) = sub.body
        && (group, version) != (&*kind.group, &*kind.version)
    {
        out["group"] = json!(group);
        out["version"] = json!(version);
    }
    out
}
