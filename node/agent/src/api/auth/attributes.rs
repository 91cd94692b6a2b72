//! What a request is called when the API server is asked whether it is allowed: a verb, and a subresource of this node.
//!
//! Sources: <https://kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz/>, and for the subresources before `proxy`
//! KEP-2862 (`KubeletFineGrainedAuthz`).

use http::Method;

/// What is below these paths, and the subresources of which one has to be allowed, in the order in which they are tried.
const PATHS: [(&str, &[&str]); 9] = [
    ("/pods", &["pods", "proxy"]),
    ("/runningpods", &["pods", "proxy"]),
    ("/healthz", &["healthz", "proxy"]),
    ("/configz", &["configz", "proxy"]),
    ("/statusz", &["statusz", "proxy"]),
    ("/stats", &["stats"]),
    ("/metrics", &["metrics"]),
    ("/logs", &["log"]),
    ("/checkpoint", &["checkpoint"]),
];
/// All the rest: streams, logs of containers, `/keelson/`, and what is not there.
const PROXY: &[&str] = &["proxy"];

/// The verb of a method. Others have none, which is what only a right to every verb covers.
pub(super) fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

/// The subresources that allow a path. It is taken as the router takes it: neither decoded nor tidied.
pub(super) fn subresources(path: &str) -> &'static [&'static str] {
    let below =
        |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    PATHS.iter().find(|(folder, _)| below(folder)).map_or(PROXY, |(_, subresources)| subresources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_the_subresource_of_its_folder_and_all_others_have_proxy() {
        for (path, expected) in [
            ("/metrics", "metrics"),
            ("/metrics/cadvisor", "metrics"),
            ("/metricsx", "proxy"),
            ("/Metrics", "proxy"),
            ("//metrics", "proxy"),
            ("/%6detrics", "proxy"),
            ("/stats/summary", "stats"),
            ("/logs/", "log"),
            ("/checkpoint/a/b/c", "checkpoint"),
            ("/healthz/ping", "healthz proxy"),
            ("/pods", "pods proxy"),
            ("/runningpods/", "pods proxy"),
            ("/configz", "configz proxy"),
            ("/containerLogs/a/b/c", "proxy"),
            ("/exec/a/b/c", "proxy"),
            ("/attach/a/b/c", "proxy"),
            ("/portForward/a/b", "proxy"),
            ("/run/a/b/c", "proxy"),
            ("/keelson/flows", "proxy"),
            ("/", "proxy"),
            ("", "proxy"),
        ] {
            assert_eq!(subresources(path).join(" "), expected, "{path}");
        }
    }

    #[test]
    fn a_method_that_has_no_verb_gets_none() {
        let methods = ["POST", "GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "SEARCH"];
        let verbs = methods.map(|method| verb(&Method::from_bytes(method.as_bytes()).unwrap()));
        assert_eq!(verbs, ["create", "get", "get", "update", "patch", "delete", "", ""]);
    }
}
