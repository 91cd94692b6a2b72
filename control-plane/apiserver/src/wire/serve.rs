//! The accept loop: TLS, HTTP/1.1 and HTTP/2 on one port, upgrades, a named maximum of connections, graceful drain.

use super::{
    body::Body,
    peer::{Peer, PeerCertificate},
    tls::ServerTls,
};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
};
use std::{convert::Infallible, future::Future, io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// Open connections of the whole process; one more waits in the kernel's backlog.
pub(crate) const CONNECTIONS_MAX: usize = 8192;
/// Concurrent HTTP/2 streams of one connection, as upstream's default.
const STREAMS_PER_CONNECTION_MAX: u32 = 250;
/// A client must finish its handshake, and send a request's header, within this.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an HTTP/1 connection may be idle before its next request is there. Longer than clients keep one (90 s in Go's and in
/// hyper's pools): one that is closed while a client begins to use it costs him an error.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// How long requests may go on after the drain has begun.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// HTTP/2 pings, so that dead peers of watches are noticed.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// Answers requests; cloned once a connection.
pub(crate) trait Handler: Clone + Send + Sync + 'static {
    /// Answers one request. Never fails: errors are answers.
    fn handle(&self, peer: Arc<Peer>, request: Request<Body>) -> impl Future<Output = Response<Body>> + Send;
}

/// Serves all listeners until `shutdown`, then drains.
pub(crate) async fn serve(
    listeners: Vec<TcpListener>,
    tls: ServerTls,
    handler: impl Handler,
    shutdown: CancellationToken,
) {
    let shared = Arc::new(Shared {
        acceptor: TlsAcceptor::from(tls.config.clone()),
        tls,
        slots: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        http: builder(),
    });
    let graceful = Arc::new(GracefulShutdown::new());
    let mut accepts = tokio::task::JoinSet::new();
    for listener in listeners {
        let (shared, handler, shutdown) = (shared.clone(), handler.clone(), shutdown.clone());
        let graceful = graceful.clone();
        accepts.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = shutdown.cancelled() => return,
                    accepted = accept(&listener, &shared.slots) => accepted,
                };
                let Some((stream, address, slot)) = accepted else { continue };
                let (shared, handler, watcher) = (shared.clone(), handler.clone(), graceful.watcher());
                tokio::spawn(async move {
                    shared.connection(stream, address, handler, watcher).await;
                    drop(slot);
                });
            }
        });
    }
    while accepts.join_next().await.is_some() {}
    let Some(graceful) = Arc::into_inner(graceful) else { return };
    if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        warn!(timeout_s = DRAIN_TIMEOUT.as_secs(), "connections were still busy at the end of the drain");
    }
}

/// Waits for a free slot and a connection. None after a failed accept, which is retried after a pause.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, address)) => Some((stream, address, slot)),
        Err(error) => {
            // Mostly out of file descriptors: accepting again at once would spin.
            warn!(%error, "cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut http = Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(IDLE_TIMEOUT);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_INTERVAL);
    http
}

/// What all connections use.
struct Shared {
    acceptor: TlsAcceptor,
    tls: ServerTls,
    slots: Arc<Semaphore>,
    http: Builder<TokioExecutor>,
}

impl Shared {
    async fn connection(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        handler: impl Handler,
        watcher: hyper_util::server::graceful::Watcher,
    ) {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%address, %error, "cannot set TCP_NODELAY");
        }
        let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, self.acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return log_handshake(address, &error),
            Err(_) => return debug!(%address, "the client did not finish its TLS handshake in time"),
        };
        let certificate = PeerCertificate::judge(stream.get_ref().1.peer_certificates(), &self.tls.clients);
        let peer = Arc::new(Peer { address, certificate });
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let (handler, peer) = (handler.clone(), peer.clone());
            async move {
                let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
                Ok::<_, Infallible>(handler.handle(peer, request).await)
            }
        });
        let connection = self.http.serve_connection_with_upgrades(TokioIo::new(stream), service);
        if let Err(error) = watcher.watch(connection.into_owned()).await {
            debug!(%address, %error, "a connection ended early");
        }
    }
}

fn log_handshake(address: SocketAddr, error: &io::Error) {
    debug!(%address, %error, "TLS handshake failed");
}
