//! Streams of a pod: logs, exec, attach, port-forward. Finds the node, then hands the bytes over to it.

use crate::{
    connect,
    nodes::{self, Handshake, Location, NodeAddress, NodePath},
    resources::Call,
    response::Answer,
    wire::Body,
};
use http::{Method, Request, StatusCode};
use keelson_registry::{
    entry::Entry,
    kind::Kind,
    status::{Reason, Status},
};
use serde_json::Value;
use std::sync::Arc;

/// Port of the node's API when the Node does not say.
const NODE_API_PORT: u16 = 10250;

/// Answers a request on one of the stream subresources.
pub(crate) async fn stream(
    call: &Call<'_>,
    kind: &Arc<Kind>,
    request: Request<Body>,
) -> Result<Answer, Status> {
    let subresource = call.info.subresource.as_str();
    if subresource != "log" {
        // A stream runs commands: reading permission is not enough, whichever method opens it. Asked before the pod is
        // looked for: whether it is there is not for everybody either.
        call.server.authorize_create(&call.user, call.info).await?;
        // Admission is asked whatever becomes of the stream, as upstream: who refuses streams sees each attempt.
        connect::admit(call, kind).await?;
    }
    let registry = &call.inner().registry;
    let pod = registry.get(kind, call.namespace(kind), &call.info.name, None).await?.to_value();
    let location = match subresource {
        "log" => nodes::log_location(&pod, call.query)?,
        "portforward" => nodes::port_forward_location(&pod, call.query)?,
        _ => nodes::exec_location(subresource, &pod, call.query)?,
    };
    let (node, path) = match location {
        Location::Node { node, path } => (node, path),
        Location::Unassigned if subresource == "log" => return Ok(Answer::text(StatusCode::OK, "")),
        Location::Unassigned => {
            return Err(Status::bad_request(format!("pod {} does not have a host assigned", call.info.name)));
        }
    };
    if subresource == "log" {
        return logs(call, &node, &path).await;
    }
    upgraded(call, &node, &path, request).await
}

async fn logs(call: &Call<'_>, node: &str, path: &NodePath) -> Result<Answer, Status> {
    let address = locate(call, node).await?;
    let response =
        nodes::fetch(&call.inner().nodes, &address, path).await.map_err(|error| unreachable(&error))?;
    if response.status() == StatusCode::OK {
        return Ok(Answer::Streaming(response));
    }
    Err(node_refusal(response).await)
}

/// A refusal of the node becomes a Status that says what the node said.
async fn node_refusal(response: http::Response<Body>) -> Status {
    let code = response.status().as_u16();
    let reason = match code {
        400 => Reason::BadRequest,
        404 => Reason::NotFound,
        _ => Reason::InternalError,
    };
    let text = match crate::request::body::read(response.into_body()).await {
        Ok(bytes) => String::from_utf8_lossy(&bytes).trim().to_owned(),
        Err(error) => error.message,
    };
    Status::new(code, reason, text)
}

async fn upgraded(
    call: &Call<'_>,
    node: &str,
    path: &NodePath,
    request: Request<Body>,
) -> Result<Answer, Status> {
    if !matches!(*request.method(), Method::GET | Method::POST) {
        return Err(Status::bad_request("streams are opened with GET or POST"));
    }
    match nodes::read_handshake(request.headers()) {
        Handshake::Missing => return Err(Status::bad_request("Upgrade request required")),
        Handshake::Refused(why) => return Err(Status::bad_request(why)),
        Handshake::Passable => {}
    }
    let address = locate(call, node).await?;
    let inner = call.inner();
    let running = call.running.clone();
    let response = nodes::upgrade(&inner.nodes, &address, path, request, inner.shutdown.clone(), running)
        .await
        .map_err(|error| unreachable(&error))?;
    Ok(Answer::Streaming(response))
}

pub(crate) fn unreachable(error: &nodes::NodeError) -> Status {
    Status::new(500, Reason::InternalError, error.to_string())
}

/// The node's address: its InternalIP and the port that it has registered.
pub(crate) async fn locate(call: &Call<'_>, name: &str) -> Result<NodeAddress, Status> {
    let registry = &call.inner().registry;
    let kind = registry
        .table()
        .by_resource("", "v1", "nodes")
        .cloned()
        .ok_or_else(|| Status::internal("nodes are not served"))?;
    let node: Arc<Entry> = registry.get(&kind, None, name, Some("0")).await?;
    address_of(name, &node.to_value())
}

fn address_of(name: &str, node: &Value) -> Result<NodeAddress, Status> {
    let status = &node["status"];
    let ip = status["addresses"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|address| address["type"] == "InternalIP")
        .and_then(|address| address["address"].as_str())
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Status::internal(format!("node {name} has no InternalIP in its status")))?;
    let port = status["daemonEndpoints"]["kubeletEndpoint"]["Port"]
        .as_u64()
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port > 0)
        .unwrap_or(NODE_API_PORT);
    Ok(NodeAddress { node: name.to_owned(), ip, port })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_is_reached_at_its_internal_address() {
        let node = json!({"status": {
            "addresses": [{"type": "Hostname", "address": "a"}, {"type": "InternalIP", "address": "10.0.0.2"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10251}},
        }});
        let address = address_of("a", &node).unwrap();
        assert_eq!((address.ip.to_string(), address.port), ("10.0.0.2".to_owned(), 10251));
        assert!(address_of("a", &json!({"status": {}})).unwrap_err().message.contains("InternalIP"));
    }
}
