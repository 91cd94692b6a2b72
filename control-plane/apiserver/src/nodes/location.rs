//! From a pod and the options of a subresource to a path on its node: pure, with upstream's refusals.
//!
//! Paths and query keys are those of the kubelet's server (`/containerLogs`, `/exec`, `/attach`, `/portForward`).

use crate::request::query::Query;
use keelson_registry::status::Status;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

/// A path with its query, to be asked of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodePath(pub String);

/// Where a stream of a pod is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// The pod has no node yet; logs are empty then.
    Unassigned,
    /// On this node.
    Node {
        /// The Node's name.
        node: String,
        /// What to ask it for.
        path: NodePath,
    },
}

/// The name of the pod's container that `wanted` means; upstream's texts where it means none.
fn container(pod: &Value, wanted: Option<&str>, kinds: &[&str]) -> Result<String, Status> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let names = |kind: &str| -> Vec<&str> {
        let list = pod["spec"][kind].as_array();
        list.into_iter().flatten().filter_map(|c| c["name"].as_str()).collect()
    };
    if let Some(wanted) = wanted {
        return if kinds.iter().any(|kind| names(kind).contains(&wanted)) {
            Ok(wanted.to_owned())
        } else {
            Err(Status::bad_request(format!("container {wanted} is not valid for pod {name}")))
        };
    }
    match names("containers")[..] {
        [only] => Ok(only.to_owned()),
        [] => Err(Status::bad_request(format!("a container name must be specified for pod {name}"))),
        ref many => {
            let mut text = format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                many.join(" ")
            );
            let init = names("initContainers");
            if !init.is_empty() {
                text.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
            }
            Err(Status::bad_request(text))
        }
    }
}

/// All lists of containers in a pod.
const CONTAINER_KINDS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

fn located(pod: &Value, path: String, pairs: &[(&str, String)]) -> Location {
    let Some(node) = pod["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()) else {
        return Location::Unassigned;
    };
    let mut text = path;
    for (index, (key, value)) in pairs.iter().enumerate() {
        text.push(if index == 0 { '?' } else { '&' });
        text.push_str(key);
        text.push('=');
        text.push_str(&utf8_percent_encode(value, NON_ALPHANUMERIC).to_string());
    }
    Location::Node { node: node.to_owned(), path: NodePath(text) }
}

fn pod_path(prefix: &str, pod: &Value, container: Option<&str>) -> String {
    let field = |key: &str| pod["metadata"][key].as_str().unwrap_or_default();
    let mut path = format!("/{prefix}/{}/{}", field("namespace"), field("name"));
    if let Some(container) = container {
        path.push('/');
        path.push_str(container);
    }
    path
}

/// `pods/log`.
pub(crate) fn log_location(pod: &Value, query: &Query) -> Result<Location, Status> {
    if query.flag("insecureSkipTLSVerifyBackend") {
        return Err(Status::bad_request("insecureSkipTLSVerifyBackend is not supported".to_owned()));
    }
    let name = container(pod, query.non_empty("container"), &CONTAINER_KINDS)?;
    let mut pairs = Vec::new();
    for key in ["follow", "previous", "timestamps"] {
        if query.flag(key) {
            pairs.push((key, "true".to_owned()));
        }
    }
    for (key, least) in [("tailLines", 0), ("limitBytes", 1), ("sinceSeconds", 1)] {
        let Some(text) = query.non_empty(key) else { continue };
        let number: i64 = text.parse().map_err(|_| {
            Status::bad_request(format!("{key}: strconv.ParseInt: parsing {text:?}: invalid syntax"))
        })?;
        if number < least {
            let bound = if least == 0 { "greater than or equal to 0" } else { "greater than 0" };
            return Err(Status::bad_request(format!(
                "PodLogOptions is invalid: {key}: Invalid value: {number}: must be {bound}"
            )));
        }
        pairs.push((key, text.to_owned()));
    }
    if let Some(since) = query.non_empty("sinceTime") {
        if query.non_empty("sinceSeconds").is_some() {
            return Err(Status::bad_request(
                "PodLogOptions is invalid: at most one of `sinceTime` or `sinceSeconds` may be specified"
                    .to_owned(),
            ));
        }
        pairs.push(("sinceTime", since.to_owned()));
    }
    if let Some(stream) = query.non_empty("stream") {
        if !["All", "Stdout", "Stderr"].contains(&stream) {
            return Err(Status::bad_request(format!(
                "PodLogOptions is invalid: stream: Unsupported value: {stream:?}: supported values: \"All\", \"Stderr\", \"Stdout\""
            )));
        }
        pairs.push(("stream", stream.to_owned()));
    }
    Ok(located(pod, pod_path("containerLogs", pod, Some(&name)), &pairs))
}

/// `pods/exec` and `pods/attach`.
pub(crate) fn exec_location(subresource: &str, pod: &Value, query: &Query) -> Result<Location, Status> {
    let name = container(pod, query.non_empty("container"), &CONTAINER_KINDS)?;
    let mut pairs = Vec::new();
    // The kubelet's names of the three streams differ from the API's.
    for (key, theirs) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")] {
        if query.flag(key) {
            pairs.push((theirs, "1".to_owned()));
        }
    }
    if subresource == "exec" {
        pairs.extend(query.all("command").map(|word| ("command", word.to_owned())));
    }
    Ok(located(pod, pod_path(subresource, pod, Some(&name)), &pairs))
}

/// `pods/portforward`.
pub(crate) fn port_forward_location(pod: &Value, query: &Query) -> Result<Location, Status> {
    let pairs: Vec<_> =
        query.all("ports").flat_map(|p| p.split(',')).map(|port| ("port", port.to_owned())).collect();
    Ok(located(pod, pod_path("portForward", pod, None), &pairs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(containers: &[&str], node: &str) -> Value {
        let containers: Vec<Value> = containers.iter().map(|c| json!({"name": c})).collect();
        json!({
            "metadata": {"name": "p", "namespace": "ns"},
            "spec": {"nodeName": node, "containers": containers, "initContainers": [{"name": "i"}]},
        })
    }

    fn path(location: Result<Location, Status>) -> String {
        match location.unwrap() {
            Location::Node { path, .. } => path.0,
            Location::Unassigned => "unassigned".to_owned(),
        }
    }

    #[test]
    fn options_become_the_kubelets_query() {
        let one = pod(&["a"], "n");
        assert_eq!(
            path(log_location(&one, &Query::parse("follow=true&tailLines=5"))),
            "/containerLogs/ns/p/a?follow=true&tailLines=5"
        );
        assert_eq!(path(log_location(&one, &Query::parse("container=i"))), "/containerLogs/ns/p/i");
        assert_eq!(
            path(exec_location(
                "exec",
                &one,
                &Query::parse("stdin=true&stdout=true&tty=true&command=sh&command=-c")
            )),
            "/exec/ns/p/a?input=1&output=1&tty=1&command=sh&command=%2Dc"
        );
        assert_eq!(path(port_forward_location(&one, &Query::parse("ports=80"))), "/portForward/ns/p?port=80");
        assert_eq!(path(log_location(&pod(&["a"], ""), &Query::default())), "unassigned");
    }

    #[test]
    fn a_container_that_is_not_there_is_refused_by_name() {
        let two = pod(&["a", "b"], "n");
        let text = |r: Result<Location, Status>| r.unwrap_err().message;
        assert_eq!(
            text(log_location(&two, &Query::parse("container=x"))),
            "container x is not valid for pod p"
        );
        assert_eq!(
            text(log_location(&two, &Query::default())),
            "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]"
        );
        assert!(text(log_location(&two, &Query::parse("container=a&tailLines=-1"))).contains("tailLines"));
        assert!(
            text(log_location(&two, &Query::parse("insecureSkipTLSVerifyBackend=true")))
                .contains("insecureSkip")
        );
    }
}
