//! `nodes/NAME/proxy/PATH`: a GET passed on to the node's HTTPS API, and its answer as it streams.
//!
//! Who may is RBAC's matter (`get` on nodes/proxy); towards the node it is the API server that asks. Reading only: other
//! methods and upgrades would run commands in pods without the checks of pods/exec, and are refused.

use crate::{
    connect,
    nodes::{self, NodePath},
    pods,
    resources::Call,
    response::Answer,
    wire::Body,
};
use http::{Method, Request, Uri, header};
use http_body_util::BodyExt;
use keelson_registry::{Kind, status::Status};

/// Segments before what the node is asked for: the empty one, api, v1, nodes, NAME, proxy.
const OWN_SEGMENTS: usize = 6;

/// Answers with the node's answer, whatever it is.
pub(crate) async fn get(call: &Call<'_>, kind: &Kind, request: Request<Body>) -> Result<Answer, Status> {
    if request.method() != Method::GET {
        let method = request.method();
        return Err(Status::bad_request(format!("nodes/proxy is served for GET alone, not for {method}")));
    }
    if request.headers().contains_key(header::UPGRADE) {
        return Err(Status::bad_request("nodes/proxy does not upgrade connections"));
    }
    connect::admit(call, kind).await?;
    let path = node_path(request.uri());
    let address = pods::locate(call, &call.info.name).await?;
    let inner = call.inner();
    let running = call.running.clone();
    let response =
        nodes::fetch(&inner.nodes, &address, &path).await.map_err(|error| pods::unreachable(&error))?;
    // Counted as long as it lasts: a stream of events may last for days.
    let response = response.map(|body| {
        body.map_frame(move |frame| {
            let _counted = &running;
            frame
        })
        .boxed_unsync()
    });
    Ok(Answer::Streaming(response))
}

/// What follows `proxy` in the path, unchanged, with the query.
fn node_path(uri: &Uri) -> NodePath {
    let rest: Vec<_> = uri.path().split('/').skip(OWN_SEGMENTS).collect();
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    NodePath(format!("/{}{query}", rest.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_is_asked_for_what_follows_proxy() {
        let rows = [
            ("/api/v1/nodes/n1/proxy", "/"),
            ("/api/v1/nodes/n1/proxy/metrics", "/metrics"),
            ("/api/v1/nodes/proxy/proxy/keelson/flows?namespace=a%2Fb&x", "/keelson/flows?namespace=a%2Fb&x"),
        ];
        for (asked, path) in rows {
            assert_eq!(node_path(&asked.parse().unwrap()), NodePath(path.to_owned()));
        }
    }
}
