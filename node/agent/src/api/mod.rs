//! The kubelet's HTTPS API: what the API server asks of a node, and whoever else the API server says may.
//!
//! Paths are upstream's (`/containerLogs`, `/exec`, `/attach`, `/portForward`, `/run`, `/pods`, `/logs`, `/healthz`,
//! `/metrics`), and `/keelson/` of our own (`observe`). Who calls, and whether he may, is decided by `auth`.

mod auth;
mod log_files;
mod logs;
mod metrics;
mod streams;
mod tls;

use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use auth::{Caller, Gate};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use http::{HeaderValue, Request, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use keelson_kubelet::Kubelet;
use keelson_runtime::{keys, v1};
use tls::Tls;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::config::RunArgs;
use crate::observe::{self, Observer};

/// Connections at a time.
const CONNECTIONS_MAX: usize = 512;
/// Time for a TLS handshake and for a request's head.
const HANDSHAKE_MAX: std::time::Duration = std::time::Duration::from_secs(10);

/// Listens and serves in a task that ends with `shutdown`. Callers are judged by what the API server says to `client`.
pub(crate) async fn start(
    args: &RunArgs,
    client: kube::Client,
    kubelet: Kubelet,
    observer: Option<Observer>,
    shutdown: CancellationToken,
) -> anyhow::Result<JoinHandle<()>> {
    let files = tls::Files::new(&args.tls_cert, &args.tls_key, &args.client_ca);
    let (current, latest) = watch::channel(files.read()?);
    // On every address: in its namespace the node has no other use for the port.
    let listener =
        listen(args.api_port).await.with_context(|| format!("listening on port {}", args.api_port))?;
    let server = Server { gate: Gate::new(&args.name, client), router: router(Arc::new(kubelet), observer) };
    tokio::spawn(files.follow(current, shutdown.clone()));
    Ok(tokio::spawn(accept(listener, latest, Arc::new(server), shutdown)))
}

/// IPv6's wildcard takes both families, unless the host has no IPv6.
async fn listen(port: u16) -> std::io::Result<TcpListener> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Err(e) if matches!(e.kind(), ErrorKind::Unsupported | ErrorKind::AddrNotAvailable) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
        }
        other => other,
    }
}

fn router(kubelet: Arc<Kubelet>, observer: Option<Observer>) -> Router {
    let measured = metrics::Source::new(Arc::clone(&kubelet), observer.clone());
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/pods", get(pods))
        .route("/metrics", get(move || metrics::metrics(measured)))
        .route("/containerLogs/{namespace}/{pod}/{container}", get(logs::logs))
        .route("/exec/{namespace}/{pod}/{container}", any(streams::exec))
        .route("/attach/{namespace}/{pod}/{container}", any(streams::attach))
        .route("/portForward/{namespace}/{pod}", any(streams::port_forward))
        .route("/run/{namespace}/{pod}/{container}", post(streams::run))
        .with_state(kubelet)
        .merge(log_files::router(Path::new(log_files::FOLDER)))
        .nest("/keelson", observe::router(observer))
}

async fn accept(
    listener: TcpListener,
    tls: watch::Receiver<Tls>,
    server: Arc<Server>,
    shutdown: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            }
        };
        let (tls, server) = (tls.borrow().clone(), Arc::clone(&server));
        tokio::spawn(async move {
            let _slot = slot;
            serve(stream, tls, server).await;
        });
    }
}

/// One connection to its end.
async fn serve(stream: TcpStream, tls: Tls, server: Arc<Server>) {
    let (stream, caller) = match tokio::time::timeout(HANDSHAKE_MAX, tls.accept(stream)).await {
        Ok(Ok(accepted)) => accepted,
        Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => return,
    };
    let caller = Arc::new(caller);
    let service = service_fn(move |request| {
        let (server, caller) = (Arc::clone(&server), Arc::clone(&caller));
        async move { Ok::<_, Infallible>(server.answer(&caller, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection of the kubelet's API broke");
    }
}

/// What connections share.
struct Server {
    gate: Gate,
    router: Router,
}

impl Server {
    /// The way of every request, whatever it asks for: past the gate.
    async fn answer(&self, caller: &Caller, request: Request<Incoming>) -> Response {
        let (head, body) = request.into_parts();
        if let Err(refusal) = self.gate.admit(caller, &head).await {
            let mut answer = refusal.into_response();
            if answer.status() == StatusCode::UNAUTHORIZED {
                // A stranger keeps none of the few connections.
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            return answer;
        }
        let Ok(answer) = self.router.clone().oneshot(Request::from_parts(head, Body::new(body))).await;
        answer
    }
}

/// An answer that says what is wrong, as text.
pub(crate) struct Refusal(pub(crate) StatusCode, pub(crate) String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

impl From<keelson_runtime::RuntimeError> for Refusal {
    fn from(error: keelson_runtime::RuntimeError) -> Self {
        let code =
            if error.is_not_found() { StatusCode::NOT_FOUND } else { StatusCode::INTERNAL_SERVER_ERROR };
        Self(code, error.to_string())
    }
}

async fn pods(State(kubelet): State<Arc<Kubelet>>) -> impl IntoResponse {
    let items: Vec<_> = kubelet.pods.list().iter().map(|stored| stored.pod()).collect();
    let list = serde_json::json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items });
    ([(http::header::CONTENT_TYPE, "application/json")], list.to_string())
}

/// The newest container of this name in a pod, or the one before it.
pub(crate) async fn find_container(
    kubelet: &Kubelet,
    namespace: &str,
    pod: &str,
    container: &str,
    previous: bool,
) -> Result<v1::Container, Refusal> {
    let label =
        |c: &v1::Container, key: &str, value: &str| c.labels.get(key).is_some_and(|found| found == value);
    let mut found = kubelet.runtime.containers().await?;
    found.retain(|c| {
        label(c, keys::POD_NAMESPACE, namespace)
            && label(c, keys::POD_NAME, pod)
            && label(c, keys::CONTAINER_NAME, container)
    });
    found.sort_by_key(|container| std::cmp::Reverse(container.created_at));
    // A pod of the same name may have been here before; only the newest one's containers count.
    if let Some(uid) = found.first().and_then(|c| c.labels.get(keys::POD_UID)).cloned() {
        found.retain(|c| label(c, keys::POD_UID, &uid));
    }
    let what = if previous { "previous terminated container" } else { "container" };
    found.into_iter().nth(usize::from(previous)).ok_or_else(|| {
        Refusal(StatusCode::BAD_REQUEST, format!("{what} \"{container}\" in pod \"{pod}\" not found"))
    })
}

/// The ready sandbox of a pod.
pub(crate) async fn find_sandbox(kubelet: &Kubelet, namespace: &str, pod: &str) -> Result<String, Refusal> {
    let mut found = kubelet.runtime.sandboxes().await?;
    found.retain(|s| {
        s.state() == v1::PodSandboxState::SandboxReady
            && s.labels.get(keys::POD_NAMESPACE).is_some_and(|found| found == namespace)
            && s.labels.get(keys::POD_NAME).is_some_and(|found| found == pod)
    });
    let newest = found.into_iter().max_by_key(|sandbox| sandbox.created_at);
    newest.map(|sandbox| sandbox.id).ok_or_else(|| {
        Refusal(
            StatusCode::NOT_FOUND,
            format!("pod \"{pod}\" in namespace \"{namespace}\" does not run here"),
        )
    })
}
