//! OpenAPI v3: the index and a document for each group and version, in the form that kubectl reads; v2 is made of those.
//!
//! kubectl decides by these whether it may send `fieldValidation` and a strategic merge patch, explains fields from
//! them and finds merge keys in them. Definitions come from the compressed table of the build, decompressed only here
//! and dropped with the answer; the caller caches documents. Which kinds exist is the caller's: see [`KindFacts`].

mod definitions;
mod gnostic;
mod lists;
mod operations;
mod options;
mod parameters;
mod v2;

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::{Value, json};

pub use operations::{KindFacts, SubresourceFacts, definition_name};
pub use v2::{V2, v2_document};

/// The version of the API that the documents state.
pub const API_VERSION: &str = "v1.36.0";

/// The path of a group and version below `/openapi/v3/`: `api/v1`, `apis/apps/v1`.
#[must_use]
pub fn v3_key(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// The answer of `/openapi/v3`: where each document is. `documents` are keys as [`v3_key`] makes them, with a hash of
/// the document that changes with it.
#[must_use]
pub fn v3_index<'a>(documents: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let paths: serde_json::Map<String, Value> = documents
        .into_iter()
        .map(|(key, hash)| {
            (key.to_owned(), json!({"serverRelativeURL": format!("/openapi/v3/{key}?hash={hash}")}))
        })
        .collect();
    json!({"paths": paths}).to_string().into_bytes()
}

/// The document of a group and version: the operations of its kinds and every definition that they reach.
#[must_use]
pub fn v3_document(group: &str, version: &str, kinds: &[KindFacts]) -> Vec<u8> {
    let paths = operations::paths(group, version, kinds);
    let mut out = String::with_capacity(paths.len() * 2);
    write!(
        out,
        r#"{{"openapi":"3.0.0","info":{{"title":"Kubernetes","version":"{API_VERSION}"}},"paths":{paths},"components":{{"schemas":{{"#
    )
    .expect("writing to memory does not fail");

    let lists = lists::definitions(kinds);
    let mut roots: BTreeSet<String> = BTreeSet::new();
    definitions::references(&paths, |name| {
        roots.insert(name.to_owned());
    });
    for definition in lists.values() {
        definitions::references(&definition.to_string(), |name| {
            roots.insert(name.to_owned());
        });
    }
    let custom: Vec<(String, String)> = kinds
        .iter()
        .filter_map(|kind| {
            let name = definition_name(kind.group, kind.version, kind.kind);
            Some((name, kind.definition?.to_string()))
        })
        .collect();
    for (_, definition) in &custom {
        definitions::references(definition, |name| {
            roots.insert(name.to_owned());
        });
    }
    let mut separator = "";
    for (name, definition) in &custom {
        write!(out, "{separator}{}:{definition}", json!(name)).expect("writing to memory does not fail");
        separator = ",";
    }
    for (name, definition) in &lists {
        write!(out, "{separator}{}:{definition}", json!(name)).expect("writing to memory does not fail");
        separator = ",";
    }
    definitions::write_reachable(&mut out, separator, roots);
    out.push_str("}}}");
    out.into_bytes()
}

#[cfg(test)]
mod tests;
