//! Asking once: HTTP GET, TCP connect, or a command in the container. Also used by lifecycle hooks.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use keelson_runtime::Fault;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::Answer;
use crate::context::Context;

/// As much of an answer's body as a user is shown (upstream: 10 kB).
const BODY_BYTES_MAX: usize = 10 * 1024;

/// What a probe or hook is aimed at.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) ctx: &'a Context,
    /// Address of the pod.
    pub(crate) host: &'a str,
    /// The runtime's id of the container.
    pub(crate) id: &'a str,
    pub(crate) container: &'a Container,
}

pub(super) async fn ask(target: &Target<'_>, probe: &Probe, timeout: Duration) -> Answer {
    if let Some(exec) = &probe.exec {
        return command(target, exec.command.as_deref().unwrap_or_default(), timeout).await;
    }
    let asked = async {
        if let Some(action) = &probe.http_get {
            return judge_http(http_get(target, action).await);
        }
        if let Some(action) = &probe.tcp_socket {
            let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(target.host);
            return match port(target.container, &action.port) {
                Ok(port) => judge_io(TcpStream::connect((host, port)).await.map(drop)),
                Err(why) => Answer::Unknown(why),
            };
        }
        Answer::Unknown("the type of this probe is not supported yet".to_owned())
    };
    match tokio::time::timeout(timeout, asked).await {
        Ok(answer) => answer,
        Err(_) => Answer::Failure(
            "context deadline exceeded (Client.Timeout exceeded while awaiting headers)".into(),
        ),
    }
}

async fn command(target: &Target<'_>, command: &[String], timeout: Duration) -> Answer {
    match target.ctx.runtime.exec_sync(target.id, command, timeout).await {
        Ok(output) if output.exit_code == 0 => Answer::Success,
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            Answer::Failure(String::from_utf8_lossy(&text[..text.len().min(BODY_BYTES_MAX)]).into_owned())
        }
        Err(error) if error.fault == Fault::Timeout => {
            Answer::Failure(format!("command timed out: {command:?} timed out after {}s", timeout.as_secs()))
        }
        Err(error) => Answer::Unknown(error.to_string()),
    }
}

/// A port by number, or by the name that the container gives it.
fn port(container: &Container, port: &IntOrString) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            match container.ports.iter().flatten().find(|p| p.name.as_ref() == Some(name)) {
                Some(found) => found.container_port,
                None => name
                    .parse()
                    .map_err(|_| format!("couldn't find port: {name:?} in container {}", container.name))?,
            }
        }
    };
    u16::try_from(number).ok().filter(|n| *n > 0).ok_or_else(|| format!("invalid port number: {number}"))
}

/// Why there is no HTTP answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// The request cannot be made.
    Request(String),
    /// The connection failed.
    Io(io::Error),
    /// What came back is no HTTP.
    Http(hyper::Error),
}

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Request(why) => f.write_str(why),
            Self::Io(error) => error.fmt(f),
            Self::Http(error) => error.fmt(f),
        }
    }
}

fn judge_io(result: io::Result<()>) -> Answer {
    match result {
        Ok(()) => Answer::Success,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Answer::Refused(error.to_string()),
        Err(error) => Answer::Failure(error.to_string()),
    }
}

/// 200 to 399 is success.
fn judge_http(result: Result<(u16, Bytes), NoAnswer>) -> Answer {
    match result {
        Ok((200..400, _)) => Answer::Success,
        Ok((status, _)) => Answer::Failure(format!("HTTP probe failed with statuscode: {status}")),
        Err(NoAnswer::Request(why)) => Answer::Unknown(why),
        Err(NoAnswer::Io(error)) => judge_io(Err(error)),
        Err(error) => Answer::Failure(error.to_string()),
    }
}

/// Sends the request and answers status and (the beginning of) body. Redirects are not followed: the
/// pod answered, and that is what is asked. The caller bounds the time.
pub(crate) async fn http_get(target: &Target<'_>, action: &HTTPGetAction) -> Result<(u16, Bytes), NoAnswer> {
    let port = port(target.container, &action.port).map_err(NoAnswer::Request)?;
    let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(target.host);
    let stream = TcpStream::connect((host, port)).await.map_err(NoAnswer::Io)?;
    // An answer is read before the connection is closed; lingering would only fill TIME_WAIT.
    let request = request(action, host, port)?;
    if action.scheme.as_deref() == Some("HTTPS") {
        let name = rustls::pki_types::ServerName::try_from(host.to_owned())
            .map_err(|error| NoAnswer::Request(error.to_string()))?;
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(&target.ctx.probe_tls));
        let stream = connector.connect(name, stream).await.map_err(NoAnswer::Io)?;
        return exchange(stream, request).await;
    }
    exchange(stream, request).await
}

fn request(action: &HTTPGetAction, host: &str, port: u16) -> Result<http::Request<Empty<Bytes>>, NoAnswer> {
    let wrong = |error: &dyn std::fmt::Display| NoAnswer::Request(format!("invalid httpGet: {error}"));
    let path = action.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let mut request = http::Request::get(path).body(Empty::new()).map_err(|e| wrong(&e))?;
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, HeaderValue::from_static("kube-probe/1.36"));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    headers.insert(HOST, HeaderValue::from_str(&authority).map_err(|e| wrong(&e))?);
    for header in action.http_headers.iter().flatten() {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|e| wrong(&e))?;
        let value = HeaderValue::from_str(&header.value).map_err(|e| wrong(&e))?;
        headers.insert(name, value);
    }
    Ok(request)
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: http::Request<Empty<Bytes>>,
) -> Result<(u16, Bytes), NoAnswer> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(NoAnswer::Http)?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(NoAnswer::Http)?;
        let status = answer.status().as_u16();
        match Limited::new(answer.into_body(), BODY_BYTES_MAX).collect().await {
            Ok(body) => Ok((status, body.to_bytes())),
            Err(error) => match error.downcast::<hyper::Error>() {
                Ok(error) => Err(NoAnswer::Http(*error)),
                // Longer than anybody wants to see; that it answered is what counts.
                Err(_too_long) => Ok((status, Bytes::new())),
            },
        }
    };
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(NoAnswer::Http(error)),
        },
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ContainerPort;

    use super::*;

    #[test]
    fn ports_are_numbers_or_names_of_the_container() {
        let container = Container {
            name: "app".into(),
            ports: Some(vec![ContainerPort {
                name: Some("web".into()),
                container_port: 8080,
                ..Default::default()
            }]),
            ..Default::default()
        };
        assert_eq!(port(&container, &IntOrString::Int(80)), Ok(80));
        assert_eq!(port(&container, &IntOrString::String("web".into())), Ok(8080));
        assert!(
            port(&container, &IntOrString::String("none".into())).unwrap_err().contains("couldn't find port")
        );
        assert!(port(&container, &IntOrString::Int(70_000)).is_err());
    }
}
