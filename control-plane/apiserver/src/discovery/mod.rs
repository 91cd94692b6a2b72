//! What the server serves, told to clients: made once from a kind table, kept as bytes.
//!
//! Two forms: the documents of each path (`/api`, `/apis/apps`, `/apis/apps/v1`), and the aggregated list
//! (`apidiscovery.k8s.io/v2`) of `/api` and `/apis`. OpenAPI is elsewhere.

mod aggregated;
mod plain;
#[cfg(test)]
mod tests;

use crate::{
    request::accept::{Accepted, Encoding, Form},
    response::{Answer, yaml},
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use keelson_registry::{kind::Kind, status::Status, table::KindTable};
use serde::Serialize;
use sha2::{Digest, Sha512};
use std::{collections::HashMap, fmt::Write, sync::Arc};

/// Media type of the aggregated form.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// All documents, by path without a final slash.
pub(crate) struct Discovery {
    plain: HashMap<String, Bytes>,
    aggregated: HashMap<&'static str, (Bytes, HeaderValue)>,
}

/// A group with its versions in order of preference, each with its kinds.
struct Group<'a> {
    name: &'a str,
    versions: Vec<(&'a str, Vec<&'a Arc<Kind>>)>,
}

impl Discovery {
    /// Makes all documents. `address` is `HOST:PORT` of the server as clients reach it.
    pub(crate) fn new(table: &KindTable, address: &str) -> Self {
        let groups = groups(table);
        let (core, named): (Vec<&Group<'_>>, Vec<&Group<'_>>) =
            groups.iter().partition(|g| g.name.is_empty());
        let mut plain: HashMap<String, Bytes> = HashMap::new();
        let mut put = |path: String, document: Bytes| plain.insert(path, document);
        put("/api".to_owned(), written(&plain::api_versions(&core, address)));
        put("/apis".to_owned(), written(&plain::api_group_list(&named)));
        for group in &groups {
            if !group.name.is_empty() {
                put(format!("/apis/{}", group.name), written(&plain::api_group_document(group)));
            }
            for (version, kinds) in &group.versions {
                let prefix =
                    if group.name.is_empty() { "/api".to_owned() } else { format!("/apis/{}", group.name) };
                let list = plain::api_resource_list(group.name, version, kinds);
                put(format!("{prefix}/{version}"), written(&list));
            }
        }
        let tagged = |document: serde_json::Value| {
            let bytes = Bytes::from(document.to_string());
            let tag = etag(&bytes);
            (bytes, tag)
        };
        let aggregated = HashMap::from([
            ("/api", tagged(aggregated::list(&core))),
            ("/apis", tagged(aggregated::list(&named))),
        ]);
        Self { plain, aggregated }
    }

    /// The forms that a path has beside the plain one.
    pub(crate) fn forms(&self, path: &str) -> &'static [Form] {
        if self.aggregated.contains_key(path) { &[Form::Discovery] } else { &[] }
    }

    /// Answers a path; None when it is not one of discovery's.
    pub(crate) fn answer(
        &self,
        path: &str,
        accepted: Accepted,
        if_none_match: Option<&str>,
    ) -> Option<Result<Answer, Status>> {
        if accepted.form == Form::Discovery
            && let Some((bytes, tag)) = self.aggregated.get(path)
        {
            return Some(Ok(aggregated_answer(bytes, tag, if_none_match)));
        }
        let bytes = self.plain.get(path)?;
        Some(match accepted.encoding {
            Encoding::Json => Ok(Answer::json(StatusCode::OK, bytes.clone(), accepted)),
            Encoding::Yaml => serde_json::from_slice::<serde_json::Value>(bytes)
                .map_err(Status::internal)
                .and_then(|value| yaml::encode(&value))
                .map(|text| Answer::bytes(StatusCode::OK, "application/yaml", text)),
            Encoding::Protobuf => Err(Status::not_acceptable("discovery has no protobuf encoding here")),
        })
    }

    /// All paths, for the index at `/`.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.plain.keys().map(String::as_str)
    }
}

/// A document that holds texts, numbers and lists alone, so that it can always be written.
fn written(document: &impl Serialize) -> Bytes {
    serde_json::to_vec(document).map(Bytes::from).unwrap_or_default()
}

/// The aggregated form, with its validator.
pub(crate) fn aggregated_answer(bytes: &Bytes, tag: &HeaderValue, if_none_match: Option<&str>) -> Answer {
    let known = if_none_match.is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut answer = if known {
        Answer::bytes(StatusCode::NOT_MODIFIED, AGGREGATED, Bytes::new())
    } else {
        Answer::bytes(StatusCode::OK, AGGREGATED, bytes.clone())
    };
    answer.header(header::ETAG, tag.clone());
    answer.header(header::VARY, HeaderValue::from_static("Accept"));
    answer.header(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    answer
}

/// A strong validator of some bytes, quoted.
pub(crate) fn etag(bytes: &[u8]) -> HeaderValue {
    let mut text = String::with_capacity(130);
    text.push('"');
    for byte in Sha512::digest(bytes) {
        let _ = write!(text, "{byte:02X}");
    }
    text.push('"');
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Groups in the order of the table; versions likewise, so that the first is the preferred one.
fn groups(table: &KindTable) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for kind in table.iter() {
        let at = groups.iter().position(|g| g.name == kind.group).unwrap_or_else(|| {
            groups.push(Group { name: &kind.group, versions: Vec::new() });
            groups.len() - 1
        });
        let versions = &mut groups[at].versions;
        let at = versions.iter().position(|(v, _)| *v == kind.version).unwrap_or_else(|| {
            versions.push((&kind.version, Vec::new()));
            versions.len() - 1
        });
        versions[at].1.push(kind);
    }
    groups
}

/// `v1` or `apps/v1`.
pub(crate) fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}
