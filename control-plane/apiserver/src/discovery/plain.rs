//! The discovery documents of each path: APIVersions, APIGroupList, APIGroup, APIResourceList.

use super::{Group, group_version};
use base64::{Engine, engine::general_purpose::STANDARD};
use keelson_registry::kind::{Kind, Name, Subresource};
use serde::Serialize;
use serde_json::{Value, json};
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

/// Fields in upstream's order, which scripts rely on.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApiResourceList<'a> {
    kind: &'static str,
    api_version: &'static str,
    group_version: String,
    resources: Vec<ApiResource<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ApiResource<'a> {
    name: String,
    singular_name: &'a str,
    namespaced: bool,
    /// Group and version are named only where they differ from the list's.
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    kind: &'a str,
    verbs: &'a [&'static str],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    short_names: &'a [Name],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    categories: &'a [Name],
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_version_hash: Option<String>,
}

pub(super) fn api_resource_list<'a>(
    group: &str,
    version: &str,
    kinds: &[&'a Arc<Kind>],
) -> ApiResourceList<'a> {
    let mut resources = Vec::new();
    for kind in kinds {
        resources.push(resource(kind));
        resources.extend(kind.subresources.iter().map(|sub| subresource(kind, sub)));
    }
    resources.sort_by(|a, b| a.name.cmp(&b.name));
    ApiResourceList {
        kind: "APIResourceList",
        api_version: "v1",
        group_version: group_version(group, version),
        resources,
    }
}

fn resource(kind: &Kind) -> ApiResource<'_> {
    let stored = kind.storage_version();
    ApiResource {
        name: kind.plural.to_string(),
        singular_name: &kind.singular,
        namespaced: kind.namespaced,
        group: None,
        version: None,
        kind: &kind.kind,
        verbs: &kind.verbs,
        short_names: &kind.short_names,
        categories: &kind.categories,
        storage_version_hash: stored.map(|(group, version, kind)| storage_version_hash(group, version, kind)),
    }
}

fn storage_version_hash(group: &str, version: &str, kind: &str) -> String {
    let hash = Sha256::digest(format!("{group}/{version}/{kind}"));
    STANDARD.encode(&hash[..STORAGE_VERSION_HASH_BYTES])
}

fn subresource<'a>(kind: &'a Kind, sub: &'a Subresource) -> ApiResource<'a> {
    let own = (&*kind.group, &*kind.version);
    let elsewhere = sub.body.filter(|(group, version, _)| (*group, *version) != own);
    ApiResource {
        name: format!("{}/{}", kind.plural, sub.name),
        singular_name: "",
        namespaced: kind.namespaced,
        group: elsewhere.map(|(group, ..)| group),
        version: elsewhere.map(|(_, version, _)| version),
        kind: sub.body.map_or(&*kind.kind, |(_, _, kind)| kind),
        verbs: &sub.verbs,
        short_names: &[],
        categories: &[],
        storage_version_hash: None,
    }
}
