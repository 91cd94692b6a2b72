//! A TCP connection to a host: an address, a name that DNS knows, or a Service that [`Resolve`] knows.

use crate::{Host, Resolve};
use futures::future::BoxFuture;
use http::Uri;
use hyper_util::rt::TokioIo;
use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::net::TcpStream;

/// A peer that does not accept within this is unreachable; callers' own timeouts are mostly shorter.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Dials one host, whatever the URI says.
#[derive(Clone)]
pub(crate) struct Dialer {
    pub(crate) host: Host,
    pub(crate) resolve: Arc<dyn Resolve>,
}

impl tower::Service<Uri> for Dialer {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<TokioIo<TcpStream>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let own = self.clone();
        Box::pin(async move {
            let addresses = own.addresses().await?;
            connect(&addresses).await.map(TokioIo::new)
        })
    }
}

impl Dialer {
    /// Resolved for each connection anew: endpoints come and go.
    async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        match &self.host {
            Host::Address(address) => Ok(vec![*address]),
            Host::Service { namespace, name, port } => {
                let found = self.resolve.resolve(namespace, name, *port);
                found.map(|address| vec![address]).map_err(io::Error::other)
            }
            Host::Name { name, port } => {
                let bare = name.trim_start_matches('[').trim_end_matches(']');
                let found = tokio::net::lookup_host((bare, *port)).await;
                Ok(found
                    .map_err(|error| io::Error::other(format!("dial tcp: lookup {name}: {error}")))?
                    .collect())
            }
        }
    }
}

async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::other("dial tcp: the name has no address");
    for address in addresses {
        match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => {
                let why = match error.kind() {
                    io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
                    io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
                    io::ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
                    _ => error.to_string(),
                };
                last = io::Error::other(format!("dial tcp {address}: connect: {why}"));
            }
            Err(_) => last = io::Error::other(format!("dial tcp {address}: i/o timeout")),
        }
    }
    Err(last)
}
