//! The labels of a request: borrowed from what it asks, so that looking its series up copies nothing. Upstream's `cleanVerb`,
//! `CleanScope` and `cleanDryRun`.

use crate::request::{info::RequestInfo, query::Query};
use http::{HeaderMap, Method, header};
use indexmap::Equivalent;

/// Paths that are counted by their name; all others are counted without.
const PATHS: [&str; 6] = ["/healthz", "/livez", "/readyz", "/metrics", "/metrics/slis", "/version"];

/// Of a request. Hashes like [`Key`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Labels<'a> {
    pub(super) verb: &'static str,
    dry_run: &'static str,
    group: &'a str,
    version: &'a str,
    resource: &'a str,
    subresource: &'a str,
    scope: &'static str,
    component: &'static str,
}

/// The same, owned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    verb: &'static str,
    dry_run: &'static str,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: &'static str,
    component: &'static str,
}

impl<'a> Labels<'a> {
    pub(crate) fn of(info: &'a RequestInfo, method: &Method, headers: &HeaderMap, query: &Query) -> Self {
        if !info.is_resource {
            return Self::path(method, PATHS.iter().find(|path| **path == info.path).unwrap_or(&""));
        }
        Self {
            verb: verb(info, headers),
            dry_run: dry_run(query),
            group: &info.group,
            version: &info.version,
            resource: &info.resource,
            subresource: &info.subresource,
            scope: scope(info),
            component: "apiserver",
        }
    }

    /// Of a request whose path says nothing.
    pub(crate) fn path(method: &Method, path: &'a str) -> Self {
        let (group, version, resource, scope, component) = ("", "", "", "", "");
        let verb = method_name(method);
        Self { verb, dry_run: "", group, version, resource, subresource: path, scope, component }
    }

    /// What all requests share that ask for what is not there.
    pub(super) fn unserved(&self) -> Key {
        let nothing = Labels { group: "", version: "", resource: "", subresource: "", ..*self };
        Key::from(&nothing)
    }

    /// What all requests share for whose labels there is no room.
    pub(super) fn other(&self) -> Key {
        let other = Labels { group: "", version: "", resource: "other", subresource: "", ..*self };
        Key::from(&other)
    }
}

impl From<&Labels<'_>> for Key {
    fn from(labels: &Labels<'_>) -> Self {
        Self {
            verb: labels.verb,
            dry_run: labels.dry_run,
            group: labels.group.to_owned(),
            version: labels.version.to_owned(),
            resource: labels.resource.to_owned(),
            subresource: labels.subresource.to_owned(),
            scope: labels.scope,
            component: labels.component,
        }
    }
}

impl Equivalent<Key> for Labels<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        let Labels { verb, dry_run, group, version, resource, subresource, scope, component } = *self;
        key.values() == [verb, dry_run, group, version, resource, subresource, scope, component]
    }
}

impl Key {
    /// In the order of `REQUEST`.
    pub(super) fn values(&self) -> [&str; 8] {
        let Self { verb, dry_run, group, version, resource, subresource, scope, component } = self;
        [verb, dry_run, group, version, resource, subresource, scope, component]
    }

    /// In the order of `NAMED`: all but the dry run.
    pub(super) fn named(&self) -> [&str; 7] {
        let [verb, _, rest @ ..] = self.values();
        let [group, version, resource, subresource, scope, component] = rest;
        [verb, group, version, resource, subresource, scope, component]
    }
}

fn verb(info: &RequestInfo, headers: &HeaderMap) -> &'static str {
    match (info.subresource.as_str(), info.verb.as_str()) {
        ("exec" | "attach" | "portforward" | "proxy", _) => "CONNECT",
        (_, "get") => "GET",
        (_, "list") => "LIST",
        (_, "watch") => "WATCH",
        (_, "create") => "POST",
        (_, "update") => "PUT",
        (_, "patch") if applies(headers) => "APPLY",
        (_, "patch") => "PATCH",
        (_, "delete") => "DELETE",
        (_, "deletecollection") => "DELETECOLLECTION",
        _ => "other",
    }
}

fn applies(headers: &HeaderMap) -> bool {
    let media = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes());
    media.is_some_and(|media| media.starts_with(b"application/apply-patch+"))
}

fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

fn dry_run(query: &Query) -> &'static str {
    let mut values = query.all("dryRun").peekable();
    if values.peek().is_none() {
        return "";
    }
    if values.all(|value| value == "All") { "All" } else { "invalid" }
}

fn scope(info: &RequestInfo) -> &'static str {
    match (info.name.is_empty() && info.verb != "create", info.namespace.is_empty()) {
        (false, _) => "resource",
        (true, false) => "namespace",
        (true, true) => "cluster",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{BuildHasher, RandomState};

    #[test]
    fn labels_are_upstreams() {
        let rows = [
            ("GET /api/v1/namespaces/x/pods/a", ["GET", "", "", "v1", "pods", "", "resource", "apiserver"]),
            ("GET /api/v1/namespaces/x/pods", ["LIST", "", "", "v1", "pods", "", "namespace", "apiserver"]),
            ("GET /api/v1/pods?watch=1", ["WATCH", "", "", "v1", "pods", "", "cluster", "apiserver"]),
            (
                "POST /api/v1/namespaces/x/pods?dryRun=All",
                ["POST", "All", "", "v1", "pods", "", "resource", "apiserver"],
            ),
            (
                "PUT /api/v1/nodes/n/status?dryRun=x",
                ["PUT", "invalid", "", "v1", "nodes", "status", "resource", "apiserver"],
            ),
            (
                "PATCH /apis/apps/v1/namespaces/x/deployments/d",
                ["APPLY", "", "apps", "v1", "deployments", "", "resource", "apiserver"],
            ),
            (
                "POST /api/v1/namespaces/x/pods/a/exec",
                ["CONNECT", "", "", "v1", "pods", "exec", "resource", "apiserver"],
            ),
            ("GET /readyz", ["GET", "", "", "", "", "/readyz", "", ""]),
            ("GET /readyz/etcd", ["GET", "", "", "", "", "", "", ""]),
            ("TRACE /x", ["other", "", "", "", "", "", "", ""]),
        ];
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, "application/apply-patch+yaml".parse().unwrap());
        let hasher = RandomState::new();
        for (line, wanted) in rows {
            let (method, uri) = line.split_once(' ').unwrap();
            let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
            let (method, query) = (method.parse::<Method>().unwrap(), Query::parse(query));
            let info = RequestInfo::parse(&method, path, &query).unwrap();
            let labels = Labels::of(&info, &method, &headers, &query);
            let key = Key::from(&labels);
            assert_eq!(key.values(), wanted, "{line}");
            assert!(labels.equivalent(&key) && hasher.hash_one(labels) == hasher.hash_one(&key), "{line}");
        }
    }
}
