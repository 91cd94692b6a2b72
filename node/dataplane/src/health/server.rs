//! Listeners that answer health checks until they are dropped.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Site, State, answer::answer};

/// Connections to one listener at a time; the next waits.
const CONNECTIONS_MAX: usize = 32;
/// A connection lasts no longer: whoever checks health asks little.
const CONNECTION_MAX: Duration = Duration::from_secs(30);
/// For the head of a request.
const HEAD_MAX: Duration = Duration::from_secs(5);
/// Until an address that was another's is tried again, as kube-proxy does.
const RETRY: Duration = Duration::from_secs(5);
/// After accept(2) failed, which is for want of descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// Open listeners; dropped, they close.
#[derive(Debug)]
pub(super) struct Listening {
    _open: DropGuard,
}

impl Listening {
    /// Listens on all the addresses, or on none.
    pub(super) async fn start(at: &[SocketAddr], site: Site, state: Arc<State>) -> io::Result<Self> {
        let mut listeners = Vec::new();
        for address in at {
            listeners.push(TcpListener::bind(address).await?);
        }
        let closed = CancellationToken::new();
        for listener in listeners {
            let (site, state, closed) = (site.clone(), state.clone(), closed.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = closed.cancelled() => {}
                    () = accept(listener, &site, &state) => {}
                }
            });
        }
        Ok(Self { _open: closed.drop_guard() })
    }

    /// Listens as soon as the address is nobody else's: another proxy may still run beside this one.
    pub(super) fn when_free(at: SocketAddr, site: Site, state: Arc<State>) -> Self {
        let closed = CancellationToken::new();
        let open = closed.clone().drop_guard();
        tokio::spawn(async move {
            tokio::select! {
                () = closed.cancelled() => {}
                () = accept_when_free(at, &site, &state) => {}
            }
        });
        Self { _open: open }
    }
}

async fn accept_when_free(at: SocketAddr, site: &Site, state: &Arc<State>) {
    let mut told = false;
    loop {
        match TcpListener::bind(at).await {
            Ok(listener) => return accept(listener, site, state).await,
            Err(error) if !std::mem::replace(&mut told, true) => {
                tracing::warn!(%at, %error, "waiting to listen for health checks");
            }
            Err(_) => {}
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn accept(listener: TcpListener, site: &Site, state: &Arc<State>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (site, state) = (site.clone(), state.clone());
                tokio::spawn(async move {
                    let _slot = slot;
                    // Too long or broken: the client's concern, who asks again.
                    let _ = tokio::time::timeout(CONNECTION_MAX, serve(stream, &site, &state)).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a health check");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, site: &Site, state: &State) -> hyper::Result<()> {
    let service = service_fn(|request: Request<Incoming>| async move {
        Ok::<_, Infallible>(answer(state, site, request.uri().path(), std::time::Instant::now()))
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await
}
