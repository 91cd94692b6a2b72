//! The accept loop: TLS, HTTP/1.1 and HTTP/2 on one port, upgrades, a named maximum of connections, graceful drain.

use super::{
    body::Body,
    peer::{Peer, PeerCertificate},
    tls::ServerTls,
    unread,
};
use arc_swap::ArcSwap;
use http::{Request, Response, Version};
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use std::{convert::Infallible, future::Future, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

/// Open connections of the whole process; one more waits in the kernel's backlog.
pub(crate) const CONNECTIONS_MAX: usize = 8192;
/// Concurrent HTTP/2 streams of one connection, unless it is said how many.
const STREAMS_PER_CONNECTION_MAX: u32 = 250;
/// Bytes of a request's header fields in HTTP/2; as many as hyper reads of a request's head in HTTP/1.
const HEADER_BYTES_MAX: u32 = 408 * 1024;
/// A client must finish its handshake, and send a request's header, within this.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an HTTP/1 connection may be idle before its next request is there. Longer than clients keep one (90 s in Go's and in
/// hyper's pools): one that is closed while a client begins to use it costs him an error.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// How long requests may go on after the drain has begun.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// HTTP/2 pings, so that dead peers of watches are noticed.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// What of HTTP is to be chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HttpOptions {
    /// Concurrent HTTP/2 streams of one connection; 0 for the default, 250.
    pub streams_per_connection_max: u32,
    /// How likely a request of an HTTP/2 connection is to be the last but those under way: the client is told to open another one, which
    /// a load balancer may lead to another server. From 0 (never) to 1.
    pub goaway_chance: f64,
}

/// Answers requests; cloned once a connection.
pub(crate) trait Handler: Clone + Send + Sync + 'static {
    /// Answers one request. Never fails: errors are answers.
    fn handle(&self, peer: Arc<Peer>, request: Request<Body>) -> impl Future<Output = Response<Body>> + Send;
}

/// Serves all listeners until `shutdown`, then drains.
pub(crate) async fn serve(
    listeners: Vec<TcpListener>,
    tls: Arc<ArcSwap<ServerTls>>,
    options: HttpOptions,
    handler: impl Handler,
    shutdown: CancellationToken,
) {
    let shared = Arc::new(Shared {
        tls,
        slots: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        http: builder(options),
        goaway_chance: options.goaway_chance,
        drain: CancellationToken::new(),
    });
    let connections = TaskTracker::new();
    let mut accepts = tokio::task::JoinSet::new();
    for listener in listeners {
        let (shared, handler, shutdown) = (shared.clone(), handler.clone(), shutdown.clone());
        let connections = connections.clone();
        accepts.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = shutdown.cancelled() => return,
                    accepted = accept(&listener, &shared.slots) => accepted,
                };
                let Some((stream, address, slot)) = accepted else { continue };
                let (shared, handler) = (shared.clone(), handler.clone());
                connections.spawn(async move {
                    shared.connection(stream, address, handler).await;
                    drop(slot);
                });
            }
        });
    }
    while accepts.join_next().await.is_some() {}
    shared.drain.cancel();
    connections.close();
    if tokio::time::timeout(DRAIN_TIMEOUT, connections.wait()).await.is_err() {
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

fn builder(options: HttpOptions) -> Builder<TokioExecutor> {
    let streams = match options.streams_per_connection_max {
        0 => STREAMS_PER_CONNECTION_MAX,
        given => given,
    };
    let mut http = Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(IDLE_TIMEOUT);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(streams)
        .max_header_list_size(HEADER_BYTES_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_INTERVAL);
    http
}

/// What all connections use.
struct Shared {
    /// As of the next handshake.
    tls: Arc<ArcSwap<ServerTls>>,
    slots: Arc<Semaphore>,
    http: Builder<TokioExecutor>,
    goaway_chance: f64,
    /// Connections end with the requests that they have.
    drain: CancellationToken,
}

impl Shared {
    async fn connection(&self, stream: TcpStream, address: SocketAddr, handler: impl Handler) {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%address, %error, "cannot set TCP_NODELAY");
        }
        let tls = self.tls.load_full();
        let acceptor = TlsAcceptor::from(tls.config.clone());
        let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return log_handshake(address, &error),
            Err(_) => return debug!(%address, "the client did not finish its TLS handshake in time"),
        };
        let certificate = PeerCertificate::judge(stream.get_ref().1.peer_certificates(), &tls.clients);
        let peer = Arc::new(Peer { address, certificate });
        let (goaway, told) = (Arc::new(Notify::new()), self.goaway_chance);
        let leave = goaway.clone();
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let (handler, peer) = (handler.clone(), peer.clone());
            if request.version() == Version::HTTP_2 && rand::random::<f64>() < told {
                leave.notify_one();
            }
            async move {
                let handle = |request| async move { handler.handle(peer, request).await };
                Ok::<_, Infallible>(unread::answered(request, handle).await)
            }
        });
        let connection = self.http.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = async { tokio::select! { () = goaway.notified() => {}, () = self.drain.cancelled() => {} } } => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            debug!(%address, %error, "a connection ended early");
        }
    }
}

fn log_handshake(address: SocketAddr, error: &io::Error) {
    debug!(%address, %error, "TLS handshake failed");
}
