//! One exchange with a node: a plain answer passed on as it streams, or an upgrade whose two ends are joined.

use super::{NodeAddress, NodeClient, NodeError, NodePath};
use crate::{
    audit::Lasting,
    metrics::LongRunning,
    wire::{Body, body},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional_with_sizes;
use tokio_util::sync::CancellationToken;

/// Bytes buffered in each direction of a spliced stream.
const SPLICE_BUFFER_BYTES: usize = 16 * 1024;

/// Headers of an upgrade request that the node must see.
const UPGRADE_HEADERS: [HeaderName; 7] = [
    header::CONNECTION,
    header::UPGRADE,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_EXTENSIONS,
    HeaderName::from_static("x-stream-protocol-version"),
];

/// Headers of an answer that the client must see.
const ANSWER_HEADERS: [HeaderName; 8] = [
    header::CONNECTION,
    header::UPGRADE,
    header::SEC_WEBSOCKET_ACCEPT,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_EXTENSIONS,
    header::CONTENT_TYPE,
    HeaderName::from_static("x-stream-protocol-version"),
    HeaderName::from_static("x-accepted-stream-protocol-versions"),
];

fn request(
    method: Method,
    to: &NodeAddress,
    path: &NodePath,
    from: &HeaderMap,
) -> Result<Request<Body>, NodeError> {
    let mut request = Request::new(body::empty());
    *request.method_mut() = method;
    *request.uri_mut() = path.0.parse().map_err(|source| NodeError::Path {
        node: to.node.clone(),
        path: path.0.clone(),
        source,
    })?;
    let host = std::net::SocketAddr::new(to.ip, to.port).to_string();
    let host = HeaderValue::try_from(host).expect("an address is visible ASCII");
    request.headers_mut().insert(header::HOST, host);
    copy_headers(from, request.headers_mut(), &UPGRADE_HEADERS);
    Ok(request)
}

fn copy_headers(from: &HeaderMap, to: &mut HeaderMap, names: &[HeaderName]) {
    for name in names {
        for value in from.get_all(name) {
            to.append(name.clone(), value.clone());
        }
    }
}

/// Sends a request that was made for the node; its answer comes as it streams, an upgraded connection by [`hyper::upgrade::on`].
pub(crate) async fn send(
    client: &NodeClient,
    to: &NodeAddress,
    mut request: Request<Body>,
) -> Result<Response<Incoming>, NodeError> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let node = || to.node.clone();
    *request.uri_mut() =
        path.parse().map_err(|source| NodeError::Path { node: node(), path: path.clone(), source })?;
    let host = std::net::SocketAddr::new(to.ip, to.port).to_string();
    let host = HeaderValue::try_from(host).expect("an address is visible ASCII");
    request.headers_mut().entry(header::HOST).or_insert(host);
    let mut sender = client.connect(to).await?;
    sender.send_request(request).await.map_err(|source| NodeError::Http { node: node(), source })
}

/// GETs a path and passes the answer on while it comes.
pub(crate) async fn fetch(
    client: &NodeClient,
    to: &NodeAddress,
    path: &NodePath,
) -> Result<Response<Body>, NodeError> {
    let request = request(Method::GET, to, path, &HeaderMap::new())?;
    let mut sender = client.connect(to).await?;
    let answer = sender
        .send_request(request)
        .await
        .map_err(|source| NodeError::Http { node: to.node.clone(), source })?;
    let (head, body) = answer.into_parts();
    let mut response = Response::new(body.map_err(Into::into).boxed_unsync());
    *response.status_mut() = head.status;
    copy_headers(&head.headers, response.headers_mut(), &[header::CONTENT_TYPE]);
    Ok(response)
}

/// Asks the node for the same upgrade that the client asks for, and joins the two connections when it agrees.
///
/// Ends with the stream of either side, or with `shutdown`.
pub(crate) async fn upgrade(
    client: &NodeClient,
    to: &NodeAddress,
    path: &NodePath,
    mut incoming: Request<Body>,
    shutdown: CancellationToken,
    running: Option<LongRunning>,
) -> Result<Response<Body>, NodeError> {
    let outgoing = request(incoming.method().clone(), to, path, incoming.headers())?;
    let mut sender = client.connect(to).await?;
    let mut answer = sender
        .send_request(outgoing)
        .await
        .map_err(|source| NodeError::Http { node: to.node.clone(), source })?;
    let mut response = Response::new(body::empty());
    *response.status_mut() = answer.status();
    copy_headers(answer.headers(), response.headers_mut(), &ANSWER_HEADERS);
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        *response.body_mut() = answer.into_body().map_err(Into::into).boxed_unsync();
        return Ok(response);
    }
    let theirs = hyper::upgrade::on(&mut incoming);
    let ours = hyper::upgrade::on(&mut answer);
    let node = to.node.clone();
    let lasting = incoming.extensions_mut().remove::<Lasting>();
    tokio::spawn(async move {
        let _held = (running, lasting);
        let joined = async {
            let (theirs, ours) = tokio::try_join!(theirs, ours)?;
            let (mut theirs, mut ours) = (TokioIo::new(theirs), TokioIo::new(ours));
            copy_bidirectional_with_sizes(&mut theirs, &mut ours, SPLICE_BUFFER_BYTES, SPLICE_BUFFER_BYTES)
                .await?;
            Ok::<_, crate::wire::BoxError>(())
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            result = joined => if let Err(error) = result {
                tracing::debug!(node, %error, "a spliced stream broke");
            },
        }
    });
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_none_is_an_error_and_not_the_root() {
        let to = NodeAddress { node: "n1".into(), ip: [192, 0, 2, 1].into(), port: 10250 };
        let ask = |path: &str| request(Method::GET, &to, &NodePath(path.to_owned()), &HeaderMap::new());
        let asked = ask("/exec/ns/pod/main?command=ls").unwrap();
        assert_eq!(asked.uri(), "/exec/ns/pod/main?command=ls");
        assert_eq!(asked.headers()[header::HOST], "192.0.2.1:10250");
        let error = ask("/exec/a b").unwrap_err();
        assert!(matches!(&error, NodeError::Path { path, .. } if path == "/exec/a b"), "{error}");
    }
}
