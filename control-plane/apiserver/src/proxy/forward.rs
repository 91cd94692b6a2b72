//! One request passed on whole, its answer streamed back, an upgrade spliced.

use super::{html, location::Site};
use crate::{
    aggregation,
    audit::Lasting,
    metrics::LongRunning,
    nodes::{self, NodeAddress, NodeError},
    server::ApiServer,
    wire::{Body, BoxError, body},
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use keelson_webhook::{Peer, TransportError};
use std::net::{IpAddr, SocketAddr};
use tokio::io::copy_bidirectional_with_sizes;

/// Bytes buffered in each direction of a spliced stream.
const SPLICE_BUFFER_BYTES: usize = 16 * 1024;

/// Headers that are about one connection (RFC 9110, section 7.6.1).
const OWN_HEADERS: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Who may read this server's answers is not the other end's to say.
const CORS_HEADERS: [HeaderName; 4] = [
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
];

/// The other end.
#[derive(Clone, Debug)]
pub(crate) enum To {
    /// Anybody, by the server's own transport.
    Peer(Peer),
    /// A node's own API, as whom nodes know us.
    Node(NodeAddress),
}

/// The client's address, carried along with requests that are passed on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientAddress(pub(crate) IpAddr);

/// Where a request goes and what changes on the way.
pub(crate) struct Forward {
    /// The other end.
    pub(crate) to: To,
    /// Path and query there.
    pub(crate) path: String,
    /// The path that stands for the other end's root here; its Locations and links are put behind it.
    pub(crate) prefix: Option<String>,
    /// Added.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

/// Why a request could not be passed on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForwardError {
    /// The path is none.
    #[error("{0:?} is no path")]
    Path(String),
    /// No answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// No answer of a node.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The other end took up neither the upgrade nor refused it.
    #[error("invalid upgrade response: status code {0}")]
    Upgrade(StatusCode),
}

/// Passes the request on. A stream ends with either side or with the server.
pub(crate) async fn forward(
    server: &ApiServer,
    how: Forward,
    mut request: Request<Body>,
) -> Result<Response<Body>, ForwardError> {
    let inner = &server.inner;
    let running = request.extensions_mut().remove::<LongRunning>();
    let lasting = request.extensions_mut().remove::<Lasting>();
    let upgrade = asked_upgrade(request.headers());
    let theirs = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
    let asked = asked_host(&request);
    let outgoing = outgoing(&how, request, upgrade)?;
    let mut answer = match &how.to {
        To::Peer(peer) => inner.calls.send(peer, outgoing).await?,
        To::Node(node) => nodes::send(&inner.nodes, node, outgoing).await?,
    };
    if theirs.is_some() && answer.status() != StatusCode::SWITCHING_PROTOCOLS && !is_failure(answer.status())
    {
        return Err(ForwardError::Upgrade(answer.status()));
    }
    let mut headers = answer.headers().clone();
    if let (StatusCode::SWITCHING_PROTOCOLS, Some(theirs)) = (answer.status(), theirs) {
        let ours = hyper::upgrade::on(&mut answer);
        let shutdown = inner.shutdown.clone();
        tokio::spawn(async move {
            let _held = (running, lasting);
            let joined = async {
                let (theirs, ours) = tokio::try_join!(theirs, ours)?;
                let (mut theirs, mut ours) = (TokioIo::new(theirs), TokioIo::new(ours));
                let size = SPLICE_BUFFER_BYTES;
                copy_bidirectional_with_sizes(&mut theirs, &mut ours, size, size).await?;
                Ok::<_, BoxError>(())
            };
            tokio::select! {
                () = shutdown.cancelled() => {}
                result = joined => if let Err(error) = result {
                    tracing::debug!(%error, "a proxied stream broke");
                },
            }
        });
        let mut response = Response::new(body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = headers;
        return Ok(response);
    }
    strip(&mut headers);
    let (head, body) = answer.into_parts();
    // Counted as long as it lasts: a watch may last for days.
    let body = body.map_err(Into::into).map_frame(move |frame| {
        let _counted = &running;
        frame
    });
    let mut body = body.boxed_unsync();
    if let Some(prefix) = how.prefix {
        let site = Site { own: how.to.authority(), asked, prefix };
        CORS_HEADERS.iter().for_each(|header| drop(headers.remove(header)));
        relocate(&mut headers, &site);
        body = html::linked(head.status, &mut headers, body, site);
    }
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = headers;
    Ok(response)
}

impl To {
    fn origin(&self) -> String {
        match self {
            Self::Peer(peer) => peer.origin(),
            Self::Node(node) => format!("https://{}", SocketAddr::new(node.ip, node.port)),
        }
    }

    /// `host:port`.
    fn authority(&self) -> String {
        let origin = self.origin();
        origin.split_once("://").map(|(_, authority)| authority.to_owned()).unwrap_or(origin)
    }
}

fn is_failure(code: StatusCode) -> bool {
    code.is_client_error() || code.is_server_error()
}

/// As whom the client addresses us.
fn asked_host(request: &Request<Body>) -> Option<String> {
    let line = request.uri().authority().map(|authority| authority.as_str().to_owned());
    let header = || Some(request.headers().get(header::HOST)?.to_str().ok()?.to_owned());
    line.or_else(header)
}

/// What the client wants to switch to.
pub(crate) fn asked_upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let connection = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let mut tokens = connection.flat_map(|value| value.split(','));
    let asks = tokens.any(|token| token.trim().eq_ignore_ascii_case("upgrade"));
    headers.get(header::UPGRADE).filter(|_| asks).cloned()
}

fn outgoing(
    how: &Forward,
    request: Request<Body>,
    upgrade: Option<HeaderValue>,
) -> Result<Request<Body>, ForwardError> {
    let client = request.extensions().get::<ClientAddress>().copied();
    let host = asked_host(&request).filter(|_| how.prefix.is_some());
    let (mut head, body) = request.into_parts();
    let uri = format!("{}{}", how.to.origin(), how.path);
    head.uri = uri.parse::<Uri>().map_err(|_| ForwardError::Path(how.path.clone()))?;
    head.version = http::Version::HTTP_11;
    head.extensions.clear();
    strip(&mut head.headers);
    // They are for this server alone.
    head.headers.remove(header::AUTHORIZATION);
    head.headers.remove(header::HOST);
    strip_bearer_protocols(&mut head.headers);
    // As upstream: pods and Services hear how they were called, other API servers their own names.
    if let Some(host) = host.and_then(|host| HeaderValue::try_from(host).ok()) {
        head.headers.insert(header::HOST, host);
    }
    if let Some(ClientAddress(ip)) = client {
        append_forwarded_for(&mut head.headers, ip);
    }
    if let Some(prefix) = &how.prefix {
        let path = how.path.split('?').next().unwrap_or_default();
        if let Ok(value) = HeaderValue::try_from(format!("{prefix}{path}")) {
            head.headers.insert(HeaderName::from_static("x-forwarded-uri"), value);
        }
    }
    // Nor is who he says he is: that is ours to tell.
    let claims: Vec<HeaderName> = head.headers.keys().filter(|name| is_claim(name)).cloned().collect();
    for name in &claims {
        head.headers.remove(name);
    }
    for (name, value) in &how.headers {
        head.headers.append(name.clone(), value.clone());
    }
    if let Some(upgrade) = upgrade {
        head.headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        head.headers.insert(header::UPGRADE, upgrade);
    }
    Ok(Request::from_parts(head, body))
}

/// Whether a header says as whom the client wants to be seen.
fn is_claim(name: &HeaderName) -> bool {
    aggregation::is_remote(name) || name.as_str().starts_with("impersonate-")
}

/// Takes away what is about the connection, named by the standard or by the connection header itself.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&OWN_HEADERS) {
        headers.remove(name);
    }
}

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// WebSocket subprotocols that carry a bearer token.
const BEARER_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// The client behind those that passed the request on before us.
fn append_forwarded_for(headers: &mut HeaderMap, ip: IpAddr) {
    let before = headers.get_all(&FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let mut all: Vec<String> = before.map(str::to_owned).collect();
    all.push(ip.to_canonical().to_string());
    if let Ok(value) = HeaderValue::try_from(all.join(", ")) {
        headers.insert(FORWARDED_FOR, value);
    }
}

/// Takes tokens out of the subprotocols that are offered.
fn strip_bearer_protocols(headers: &mut HeaderMap) {
    let offered =
        headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let offered: Vec<&str> = offered.flat_map(|value| value.split(',')).map(str::trim).collect();
    if !offered.iter().any(|protocol| protocol.starts_with(BEARER_PROTOCOL)) {
        return;
    }
    let others: Vec<&str> =
        offered.into_iter().filter(|protocol| !protocol.starts_with(BEARER_PROTOCOL)).collect();
    match HeaderValue::try_from(others.join(", ")) {
        Ok(value) if !value.is_empty() => drop(headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value)),
        _ => drop(headers.remove(header::SEC_WEBSOCKET_PROTOCOL)),
    }
}

fn relocate(headers: &mut HeaderMap, site: &Site) {
    let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
    if let Some(rewritten) = location.and_then(|location| site.rewritten(location))
        && let Ok(value) = HeaderValue::try_from(rewritten)
    {
        headers.insert(header::LOCATION, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelson_webhook::{Host, Scheme};

    #[test]
    fn what_is_about_the_connection_or_us_stays_here() {
        let request = Request::builder()
            .uri("/api/v1/namespaces/n/pods/p/proxy/a")
            .header("authorization", "Bearer secret")
            .header("connection", "close, X-Own")
            .header("x-own", "1")
            .header("x-remote-user", "forged")
            .header("x-remote-extra-a", "forged")
            .header("impersonate-user", "root")
            .header("accept", "text/html")
            .header("host", "localhost:8001")
            .header("x-forwarded-for", "198.51.100.1")
            .header("sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.c2VjcmV0, own")
            .extension(ClientAddress("::ffff:192.0.2.9".parse().unwrap()))
            .body(body::empty())
            .unwrap();
        let peer = Peer {
            scheme: Scheme::Http,
            host: Host::Address("192.0.2.1:80".parse().unwrap()),
            identified: false,
        };
        let headers = vec![(HeaderName::from_static("x-remote-user"), HeaderValue::from_static("jane"))];
        let to = To::Peer(peer);
        let how = Forward { to, path: "/a?b".to_owned(), prefix: Some("/p".to_owned()), headers };
        let sent = outgoing(&how, request, None).unwrap();
        assert_eq!(sent.uri(), "http://192.0.2.1:80/a?b");
        let mut names: Vec<&str> = sent.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let wanted = [
            "accept",
            "host",
            "sec-websocket-protocol",
            "x-forwarded-for",
            "x-forwarded-uri",
            "x-remote-user",
        ];
        assert_eq!(names, wanted);
        assert_eq!(sent.headers()["host"], "localhost:8001");
        assert_eq!(sent.headers()["sec-websocket-protocol"], "own");
        assert_eq!(sent.headers()["x-forwarded-for"], "198.51.100.1, 192.0.2.9");
        assert_eq!(sent.headers()["x-remote-user"], "jane");
        assert_eq!(sent.headers()["x-forwarded-uri"], "/p/a");
    }
}
