//! Admission of connects: exec, attach, port-forward and the proxies are put before plugins and webhooks like writes, with
//! their options as the object.

use crate::{request::query::Query, resources::Call};
use keelson_registry::{Attributes, Kind, Operation, Options, status::Status};
use serde_json::{Map, Value, json};

/// Asks admission. What it would change in the options is refused: the stream is opened as the client asked or not at all.
pub(crate) async fn admit(call: &Call<'_>, kind: &Kind) -> Result<(), Status> {
    let admission = &call.inner().admission;
    let attributes = Attributes {
        user: &call.user,
        kind,
        subresource: &call.info.subresource,
        namespace: call.namespace(kind).unwrap_or_default(),
        name: &call.info.name,
        operation: Operation::Connect,
        dry_run: false,
        old: None,
        options: Options::default(),
        warnings: &call.warnings,
        annotations: &call.annotations,
        now: call.now,
    };
    let body = kind.subresource(&call.info.subresource).and_then(|sub| sub.body);
    let options = options(body.map_or("", |(_, _, kind)| kind), call.query, &call.info.trailing);
    let mut seen = options.clone();
    admission.mutate(&attributes, Some(&mut seen)).await?;
    if seen != options {
        return Err(Status::internal("admission changed the options of a connect, which is not supported"));
    }
    admission.validate(&attributes, Some(&options)).await
}

/// The options of a connect as an object: PodExecOptions and the like.
fn options(kind: &str, query: &Query, path: &str) -> Value {
    let mut object = Map::new();
    let mut set = |key: &str, value: Value| object.insert(key.to_owned(), value);
    set("apiVersion", json!("v1"));
    set("kind", json!(kind));
    match kind {
        "PodExecOptions" | "PodAttachOptions" => {
            for key in ["stdin", "stdout", "stderr", "tty"] {
                if query.flag(key) {
                    set(key, json!(true));
                }
            }
            if let Some(container) = query.non_empty("container") {
                set("container", json!(container));
            }
            let command: Vec<&str> = query.all("command").collect();
            if kind == "PodExecOptions" && !command.is_empty() {
                set("command", json!(command));
            }
        }
        "PodPortForwardOptions" => {
            let ports = query.all("ports").flat_map(|ports| ports.split(','));
            let ports: Vec<u16> = ports.filter_map(|port| port.parse().ok()).collect();
            if !ports.is_empty() {
                set("ports", json!(ports));
            }
        }
        // The proxies.
        _ => {
            set("path", json!(format!("/{path}")));
        }
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_what_the_query_asks_for() {
        let rows = [
            (
                "PodExecOptions",
                "stdin=true&command=sh&command=-c&container=a",
                json!({"stdin": true, "command": ["sh", "-c"], "container": "a"}),
            ),
            ("PodAttachOptions", "tty=1&command=x", json!({"tty": true})),
            ("PodPortForwardOptions", "ports=80,81", json!({"ports": [80, 81]})),
            ("NodeProxyOptions", "", json!({"path": "/a/b"})),
        ];
        for (kind, query, mut wanted) in rows {
            wanted["apiVersion"] = json!("v1");
            wanted["kind"] = json!(kind);
            assert_eq!(options(kind, &Query::parse(query), "a/b"), wanted);
        }
    }
}
