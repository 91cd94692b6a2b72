//! The one parser of API paths: from method, path and query to verb, group, resource, namespace, name, subresource.
//!
//! The rules are those of upstream's `RequestInfoFactory` (k8s.io/apiserver/pkg/endpoints/request). It does not know
//! which resources exist, and it does not touch the body.

use super::query::Query;
use http::Method;
use keelson_semantics::FieldSelector;
use percent_encoding::percent_decode_str;

/// What a request is about. Non-resource requests have an empty `resource` and a verb that is the lower-case method.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestInfo {
    /// Under `/api` or `/apis`, with at least a resource.
    pub(crate) is_resource: bool,
    /// The decoded path.
    pub(crate) path: String,
    /// get, list, watch, create, update, patch, delete, deletecollection; or the lower-case HTTP method.
    pub(crate) verb: String,
    /// API group, empty for core.
    pub(crate) group: String,
    /// API version.
    pub(crate) version: String,
    /// Plural.
    pub(crate) resource: String,
    /// Third part, such as `status`.
    pub(crate) subresource: String,
    /// Empty when the request spans all namespaces or the resource is cluster-scoped.
    pub(crate) namespace: String,
    /// Whether the path names a namespace in front of the resource: the resource must then be a namespaced one, as it was
    /// in that namespace that the request was authorised.
    pub(crate) in_namespace: bool,
    /// Object name, also one that comes from a `metadata.name=` field selector.
    pub(crate) name: String,
    /// Whether the path itself names the object (as opposed to a field selector).
    pub(crate) named_by_path: bool,
    /// What follows the subresource (only `proxy` may have it), empty otherwise.
    pub(crate) trailing: String,
    /// Segments of the path up to and with the subresource.
    own_segments: usize,
}

/// Why a path cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InfoError {
    /// A percent escape that is not UTF-8.
    #[error("the path is not valid UTF-8 after percent decoding")]
    NotUtf8,
    /// A path that servers could read in different ways.
    #[error("the path {path:?} has {why}")]
    Ambiguous {
        /// As it was written.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// `/api/v1/watch` alone.
    #[error("unable to determine kind and namespace from url, {0}")]
    NoResource(String),
}

/// Subresources of a Namespace itself, so that `/namespaces/x/status` is not read as resource `status` in `x`.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

impl RequestInfo {
    /// Parses a request line.
    pub(crate) fn parse(method: &Method, path: &str, query: &Query) -> Result<Self, InfoError> {
        // Decoded first: an escaped slash separates, so that no name that is judged or looked up holds one.
        let decoded = percent_decode_str(path).decode_utf8().map_err(|_| InfoError::NotUtf8)?.into_owned();
        let parts: Vec<String> =
            decoded.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        let mut info =
            Self { path: decoded.clone(), verb: method.as_str().to_ascii_lowercase(), ..Self::default() };
        let Some(mut rest) = info.take_group_version(&parts) else { return Ok(info) };

        info.is_resource = true;
        let mut deprecated_watch = false;
        if rest[0] == "watch" {
            if rest.len() < 2 {
                return Err(InfoError::NoResource(decoded));
            }
            deprecated_watch = true;
            rest = &rest[1..];
        }
        info.verb = verb_of(method).to_owned();
        if rest[0] == "namespaces" && rest.len() > 1 {
            info.namespace.clone_from(&rest[1]);
            if rest.len() > 2 && !NAMESPACE_SUBRESOURCES.contains(&rest[2].as_str()) {
                rest = &rest[2..];
                info.in_namespace = true;
            }
        }
        info.resource.clone_from(&rest[0]);
        if let Some(name) = rest.get(1) {
            info.name.clone_from(name);
            info.named_by_path = true;
        }
        if let Some(sub) = rest.get(2) {
            info.subresource.clone_from(sub);
        }
        if rest.len() > 3 {
            info.trailing = rest[3..].join("/");
        }
        info.own_segments = parts.len() - rest.len().saturating_sub(3);
        info.refine_collection_verbs(query);
        if deprecated_watch && info.verb != "watch" {
            info.verb = "watch".to_owned();
        }
        Ok(info)
    }

    /// Cuts the path, as it was written, behind the subresource: what names it here, and what follows, empty or with its slash.
    ///
    /// # Errors
    /// Where the two readings of the path could differ, here or at the other end: an escaped slash in front of the cut, a
    /// segment of dots anywhere.
    pub(crate) fn cut<'p>(&self, written: &'p str) -> Result<(&'p str, &'p str), InfoError> {
        let refused = |why| InfoError::Ambiguous { path: written.to_owned(), why };
        let (mut seen, mut cut, mut at) = (0, None, 0);
        for segment in written.split('/') {
            let end = at + segment.len();
            let decoded = percent_decode_str(segment).decode_utf8().map_err(|_| InfoError::NotUtf8)?;
            if matches!(&*decoded, "." | "..") || decoded.split('/').any(|part| matches!(part, "." | "..")) {
                return Err(refused("a segment of dots"));
            }
            if cut.is_none() && !segment.is_empty() {
                if decoded.contains('/') {
                    return Err(refused("an escaped slash in front of what is passed on"));
                }
                seen += 1;
                cut = (seen == self.own_segments).then_some(end);
            }
            at = end + 1;
        }
        let cut = cut.ok_or_else(|| refused("nothing that is passed on"))?;
        Ok(written.split_at(cut))
    }

    /// Takes `/api/VERSION` or `/apis/GROUP/VERSION` off the front; None when no resource follows.
    fn take_group_version<'a>(&mut self, parts: &'a [String]) -> Option<&'a [String]> {
        match parts.first().map(String::as_str) {
            Some("api") if parts.len() >= 3 => {
                self.version.clone_from(&parts[1]);
                Some(&parts[2..])
            }
            Some("apis") if parts.len() >= 4 => {
                self.group.clone_from(&parts[1]);
                self.version.clone_from(&parts[2]);
                Some(&parts[3..])
            }
            _ => None,
        }
    }

    /// GET without a name is list or watch, DELETE without one is deletecollection.
    fn refine_collection_verbs(&mut self, query: &Query) {
        if self.verb == "get" && self.name.is_empty() {
            self.verb = if query.flag("watch") { "watch" } else { "list" }.to_owned();
            if let Some(name) = query.first("fieldSelector").and_then(name_selected) {
                self.name = name;
            }
        }
        if self.verb == "delete" && self.name.is_empty() {
            self.verb = "deletecollection".to_owned();
        }
    }

    /// Whether the request may last: watches and streams are not subject to the request timeout or the in-flight limit.
    pub(crate) fn is_long_running(&self) -> bool {
        self.verb == "watch"
            || matches!(self.subresource.as_str(), "log" | "exec" | "attach" | "portforward" | "proxy")
    }

    /// Whether the request only reads.
    pub(crate) fn is_read_only(&self) -> bool {
        matches!(self.verb.as_str(), "get" | "list" | "watch" | "head" | "options")
    }
}

fn verb_of(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

/// The name that `metadata.name=x` pins, when that is one of the selector's terms. Read by the parser that also selects
/// the objects: two readings of one selector would authorise one object and show another.
fn name_selected(selector: &str) -> Option<String> {
    let selector = FieldSelector::parse(selector).ok()?;
    let name = selector.required_value("metadata.name")?;
    let is_segment = !name.is_empty() && !matches!(name, "." | "..") && !name.contains(['/', '%']);
    is_segment.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: &str, uri: &str) -> RequestInfo {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        RequestInfo::parse(&method.parse().unwrap(), path, &Query::parse(query)).unwrap()
    }

    #[test]
    fn paths_are_read_as_upstream_reads_them() {
        // method, uri, verb, group, version, namespace, resource, subresource, name
        let rows = [
            "GET /api/v1/namespaces list - v1 - namespaces - -",
            "GET /api/v1/namespaces/x get - v1 x namespaces - x",
            "PUT /api/v1/namespaces/x/finalize update - v1 x namespaces finalize x",
            "GET /api/v1/namespaces/x/status get - v1 x namespaces status x",
            "GET /api/v1/namespaces/x/pods list - v1 x pods - -",
            "GET /api/v1/namespaces/x/pods?watch=1 watch - v1 x pods - -",
            "GET /api/v1/namespaces/x/pods?watch=false list - v1 x pods - -",
            "GET /api/v1/namespaces/x/pods?watch watch - v1 x pods - -",
            "GET /api/v1/pods?fieldSelector=metadata.name%3Da list - v1 - pods - a",
            "GET /api/v1/pods?watch=true&fieldSelector=metadata.name%3D%3Da,spec.nodeName%3Dn watch - v1 - pods - a",
            "POST /api/v1/namespaces/x/pods create - v1 x pods - -",
            "POST /api/v1/namespaces/x/pods/a/exec create - v1 x pods exec a",
            "DELETE /api/v1/namespaces/x/pods deletecollection - v1 x pods - -",
            "DELETE /api/v1/namespaces/x/pods/a delete - v1 x pods - a",
            "PATCH /apis/apps/v1/namespaces/x/deployments/d/scale patch apps v1 x deployments scale d",
            "HEAD /api/v1/nodes/n get - v1 - nodes - n",
            "GET /api/v1/pods?fieldSelector=metadata.name%3Da%5C%2Cb list - v1 - pods - a,b",
            "GET /api/v1/pods?fieldSelector=x%21%3D1%5C%2Cmetadata.name%3Da list - v1 - pods - -",
            "GET /api/v1/pods?fieldSelector=metadata.name%21%3Da list - v1 - pods - -",
            "GET /api/v1/pods?fieldSelector=metadata.name%3Da/b list - v1 - pods - -",
            "GET /api/v1/pods/x%2Fy get - v1 - pods y x",
            "GET /api/v1/watch/namespaces/x/pods watch - v1 x pods - -",
            "GET /api/v1/watch/nodes/n watch - v1 - nodes - n",
            "GET /apis/rbac.authorization.k8s.io/v1/clusterroles/system:node get rbac.authorization.k8s.io v1 - clusterroles - system:node",
            "GET /apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode get rbac.authorization.k8s.io v1 - clusterroles - system:node",
        ];
        for row in rows {
            let f: Vec<&str> = row.split(' ').map(|w| if w == "-" { "" } else { w }).collect();
            let got = parse(f[0], f[1]);
            let seen = [
                &got.verb,
                &got.group,
                &got.version,
                &got.namespace,
                &got.resource,
                &got.subresource,
                &got.name,
            ];
            assert!(got.is_resource, "{row}");
            assert_eq!(seen.map(String::as_str).to_vec(), f[2..].to_vec(), "{row}");
        }
    }

    #[test]
    fn paths_without_a_resource_keep_the_method_as_verb() {
        for uri in ["/", "/api", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1", "/version", "/livez/ping"]
        {
            let info = parse("GET", uri);
            assert!(!info.is_resource, "{uri}");
            assert_eq!((info.verb.as_str(), info.path.as_str()), ("get", uri));
        }
    }

    #[test]
    fn streams_and_watches_are_long_running() {
        assert!(parse("GET", "/api/v1/pods?watch=1").is_long_running());
        assert!(parse("GET", "/api/v1/namespaces/x/pods/a/log").is_long_running());
        assert!(!parse("GET", "/api/v1/pods").is_long_running());
    }

    #[test]
    fn what_is_passed_on_begins_where_the_walk_ends() {
        let rows = [
            ("/api/v1/namespaces/n/pods/p/proxy", Some(("/api/v1/namespaces/n/pods/p/proxy", ""))),
            ("/api/v1/namespaces/n/pods/p/proxy/", Some(("/api/v1/namespaces/n/pods/p/proxy", "/"))),
            (
                "/api/v1/namespaces/n/pods/p/proxy/a%2Fb//c",
                Some(("/api/v1/namespaces/n/pods/p/proxy", "/a%2Fb//c")),
            ),
            ("//api/v1//nodes/n:1/proxy//x", Some(("//api/v1//nodes/n:1/proxy", "//x"))),
            ("/api/v1/n%6fdes/proxy/proxy/proxy", Some(("/api/v1/n%6fdes/proxy/proxy", "/proxy"))),
            ("/api/v1/namespaces/n/pods/p%2Fproxy/x", None),
            ("/api/v1/namespaces/n/pods%2Fp/proxy/x", None),
            ("/api/v1/nodes/n/proxy/../x", None),
            ("/api/v1/nodes/n/proxy/%2e%2E/x", None),
            ("/api/v1/nodes/n/proxy/a%2F..%2Fb", None),
        ];
        for (path, wanted) in rows {
            assert_eq!(parse("GET", path).cut(path).ok(), wanted, "{path}");
        }
    }

    #[test]
    fn a_watch_path_without_a_resource_is_an_error() {
        let error = RequestInfo::parse(&Method::GET, "/api/v1/watch", &Query::default()).unwrap_err();
        assert!(matches!(error, InfoError::NoResource(_)));
    }
}
