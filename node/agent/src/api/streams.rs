//! exec, attach, port-forward: the caller's upgraded connection is spliced to the container runtime's
//! streaming server, unparsed. The runtime speaks SPDY and WebSocket v4; a handshake that offers only v5
//! is refused, so that clients fall back to SPDY.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{CONNECTION, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use keelson_kubelet::Kubelet;
use keelson_runtime::Streams;
use tokio::net::TcpStream;

use super::{Refusal, find_container, find_sandbox};

/// Longest command of `/run`.
const RUN_MAX: Duration = Duration::from_secs(120);
/// The runtime's WebSocket protocols of exec and attach end with these.
const V5_ONLY: &str = "v5.channel.k8s.io";

/// Query parameters of exec and attach; the command is repeated.
fn parameters(uri: &Uri) -> (Streams, Vec<String>) {
    let mut streams = Streams::default();
    let mut command = Vec::new();
    for (key, value) in form(uri) {
        let on = matches!(value.as_str(), "1" | "true");
        match key.as_str() {
            "command" | "cmd" => command.push(value),
            "input" | "stdin" => streams.stdin = on,
            "output" | "stdout" => streams.stdout = on,
            "error" | "stderr" => streams.stderr = on,
            "tty" => streams.tty = on,
            _ => {}
        }
    }
    // A terminal has one output stream.
    streams.stderr &= !streams.tty;
    (streams, command)
}

/// The query, decoded.
pub(super) fn form(uri: &Uri) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned()
    };
    let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(k, v)| (decode(k), decode(v)))
        .collect()
}

type Container = Path<(String, String, String)>;

pub(super) async fn exec(
    State(kubelet): State<Arc<Kubelet>>,
    Path((namespace, pod, name)): Container,
    request: Request,
) -> Result<Response, Refusal> {
    let (streams, command) = parameters(request.uri());
    check(request.headers(), &streams)?;
    let container = find_container(&kubelet, &namespace, &pod, &name, false).await?;
    let url = kubelet.runtime.exec_url(&container.id, &command, streams).await?;
    splice(&url, request).await
}

pub(super) async fn attach(
    State(kubelet): State<Arc<Kubelet>>,
    Path((namespace, pod, name)): Container,
    request: Request,
) -> Result<Response, Refusal> {
    let (streams, _) = parameters(request.uri());
    check(request.headers(), &streams)?;
    let container = find_container(&kubelet, &namespace, &pod, &name, false).await?;
    let url = kubelet.runtime.attach_url(&container.id, streams).await?;
    splice(&url, request).await
}

pub(super) async fn port_forward(
    State(kubelet): State<Arc<Kubelet>>,
    Path((namespace, pod)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    let ports: Vec<i32> = form(request.uri())
        .into_iter()
        .filter(|(key, _)| key == "port" || key == "ports")
        .flat_map(|(_, value)| value.split(',').map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|port| port.parse().ok())
        .collect();
    let sandbox = find_sandbox(&kubelet, &namespace, &pod).await?;
    let url = kubelet.runtime.port_forward_url(&sandbox, &ports).await?;
    splice(&url, request).await
}

/// Runs a command to its end and answers what it printed.
pub(super) async fn run(
    State(kubelet): State<Arc<Kubelet>>,
    Path((namespace, pod, name)): Container,
    request: Request,
) -> Result<Response, Refusal> {
    let (_, mut command) = parameters(request.uri());
    if let [line] = &command[..] {
        command = line.split_whitespace().map(str::to_owned).collect();
    }
    let container = find_container(&kubelet, &namespace, &pod, &name, false).await?;
    let output = kubelet.runtime.exec_sync(&container.id, &command, RUN_MAX).await?;
    Ok([output.stdout, output.stderr].concat().into_response())
}

fn check(headers: &HeaderMap, streams: &Streams) -> Result<(), Refusal> {
    let protocols: Vec<&str> = headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(str::trim))
        .collect();
    if !protocols.is_empty() && protocols.iter().all(|protocol| *protocol == V5_ONLY) {
        let text = "the container runtime does not speak v5.channel.k8s.io; use v4.channel.k8s.io or SPDY";
        return Err(Refusal(StatusCode::BAD_REQUEST, text.to_owned()));
    }
    if !(streams.stdin || streams.stdout || streams.stderr) {
        let text = "you must specify at least 1 of stdin, stdout, stderr";
        return Err(Refusal(StatusCode::BAD_REQUEST, text.to_owned()));
    }
    Ok(())
}

fn gateway(doing: &str) -> impl Fn(&dyn std::fmt::Display) -> Refusal {
    let doing = doing.to_owned();
    move |error| Refusal(StatusCode::BAD_GATEWAY, format!("{doing}: {error}"))
}

/// Sends the caller's handshake to `url` and joins both connections when the runtime agrees to switch.
async fn splice(url: &str, mut request: Request) -> Result<Response, Refusal> {
    let target: Uri = url.parse().map_err(|e| gateway("the runtime's streaming URL")(&e))?;
    let authority =
        target.authority().ok_or_else(|| gateway("the runtime's streaming URL")(&"it has no host"))?;
    let port = authority.port_u16().unwrap_or(80);
    let stream = TcpStream::connect((authority.host(), port))
        .await
        .map_err(|e| gateway("connecting to the runtime's streaming server")(&e))?;
    let _ = stream.set_nodelay(true);
    let failed = gateway("talking to the runtime's streaming server");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| failed(&e))?;
    tokio::spawn(connection.with_upgrades());

    let mut onward = http::Request::builder()
        .method(request.method().clone())
        .uri(target.path_and_query().map_or("/", |path| path.as_str()));
    for (name, value) in request.headers() {
        if name != http::header::HOST && name != http::header::AUTHORIZATION {
            onward = onward.header(name, value);
        }
    }
    let onward = onward.header(http::header::HOST, authority.as_str()).body(Body::empty());
    let client = hyper::upgrade::on(&mut request);
    let answer = sender.send_request(onward.map_err(|e| failed(&e))?).await.map_err(|e| failed(&e))?;
    let (parts, body) = answer.into_parts();
    if parts.status != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Response::from_parts(parts, Body::new(body)));
    }
    let runtime = hyper::upgrade::on(http::Response::from_parts(parts.clone(), body));
    tokio::spawn(async move {
        let (Ok(client), Ok(runtime)) = tokio::join!(client, runtime) else { return };
        let (mut client, mut runtime) = (TokioIo::new(client), TokioIo::new(runtime));
        if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut runtime).await {
            tracing::debug!(%error, "a stream broke");
        }
    });
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *answer.headers_mut() = parts.headers;
    debug_assert!(answer.headers().contains_key(UPGRADE) && answer.headers().contains_key(CONNECTION));
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_repeated_parameters_and_a_terminal_has_one_output() {
        let uri = "/exec/a/b/c?command=sh&command=-c&command=echo+%24x&input=1&output=1&error=1&tty=1"
            .parse()
            .unwrap();
        let (streams, command) = parameters(&uri);
        assert_eq!(command, ["sh", "-c", "echo $x"]);
        assert_eq!(streams, Streams { stdin: true, stdout: true, stderr: false, tty: true });
    }

    #[test]
    fn a_handshake_of_v5_alone_is_refused() {
        let streams = Streams { stdout: true, ..Streams::default() };
        let mut headers = HeaderMap::new();
        headers.insert(SEC_WEBSOCKET_PROTOCOL, "v5.channel.k8s.io".parse().unwrap());
        assert!(check(&headers, &streams).is_err());
        headers.insert(SEC_WEBSOCKET_PROTOCOL, "v5.channel.k8s.io, v4.channel.k8s.io".parse().unwrap());
        assert!(check(&headers, &streams).is_ok());
    }
}
