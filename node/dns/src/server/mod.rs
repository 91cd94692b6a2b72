//! The server: sockets that a successor can share (SO_REUSEPORT), what they read, and who answers it.

mod handler;
mod socket;
mod tcp;
mod udp;

#[cfg(test)]
mod tests;

use crate::{
    answer::Zone,
    forward::{Forwarder, Stub, Upstream, UpstreamError},
    message::TCP_PAYLOAD_MAX,
    metrics::{Gauges, Metrics},
    watch::{self, Cluster},
};
use handler::Handler;
use hickory_proto::rr::Name;
use kube::Client;
pub use socket::listener;
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_util::{
    codec::{Framed, LengthDelimitedCodec},
    sync::CancellationToken,
    task::TaskTracker,
};

/// Where names are asked for.
pub const PORT: u16 = 53;
/// At the end, for the questions that wait for other servers.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// What the server needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cluster's DNS addresses; the node daemon puts them on `lo`, sooner or later. Port 0: any port.
    pub listen: Vec<SocketAddr>,
    /// Usually `cluster.local`.
    pub cluster_domain: String,
    /// Who is asked for names that are not the cluster's.
    pub upstream: Upstream,
    /// Zones with servers of their own; they may lie below the cluster domain.
    pub stubs: Vec<Stub>,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// The cluster domain is no DNS name.
    #[error("`{0}` is not a DNS name")]
    Domain(String),
    /// Those who would be asked for other names cannot be.
    #[error("setting up the upstream servers")]
    Upstream(#[from] UpstreamError),
    /// A socket could not be had.
    #[error("listening on {address} ({protocol})")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// UDP or TCP.
        protocol: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A server that has its sockets and does not answer yet.
pub struct Server {
    handler: Arc<Handler>,
    sockets: Vec<(UdpSocket, TcpListener)>,
}

/// What is known of a server while it runs.
#[derive(Clone)]
pub struct Handle(Arc<Handler>);

impl Handle {
    /// What it counted, in Prometheus' text format.
    pub fn metrics(&self) -> String {
        let handler = &self.0;
        let (cache_entries, cache_bytes) = handler.forwarder.cache_size();
        handler.metrics.text(Gauges {
            listed: self.is_ready(),
            services: handler.cluster.read(crate::Index::services).unwrap_or(0),
            cache_entries,
            cache_bytes,
            looping: handler.forwarder.probe.looping(),
        })
    }

    /// Whether it knows the cluster. Until then the answer is SERVFAIL: a client asks again, where NXDOMAIN would be believed.
    pub fn is_ready(&self) -> bool {
        self.0.cluster.is_listed()
    }
}

impl Server {
    /// Takes the sockets.
    pub fn bind(config: &Config) -> Result<Self, DnsError> {
        Self::with_cluster(config, Arc::default())
    }

    fn with_cluster(config: &Config, cluster: Arc<Cluster>) -> Result<Self, DnsError> {
        let domain = Name::from_utf8(&config.cluster_domain)
            .map(|mut name| {
                name.set_fqdn(true);
                name.to_lowercase()
            })
            .map_err(|_| DnsError::Domain(config.cluster_domain.clone()))?;
        let mut sockets = Vec::new();
        let mut own = Vec::new();
        for &address in &config.listen {
            let failed = |protocol| move |source| DnsError::Listen { address, protocol, source };
            let udp = socket::udp(address).map_err(failed("UDP"))?;
            let bound = udp.local_addr().map_err(failed("UDP"))?;
            sockets.push((udp, socket::listener(bound).map_err(failed("TCP"))?));
            own.push(bound);
        }
        let metrics = Arc::<Metrics>::default();
        let forwarder = Forwarder::new(&config.upstream, &config.stubs, &domain, &own, metrics.clone())?;
        let zone = Zone { domain, servers: own.iter().map(SocketAddr::ip).collect() };
        Ok(Self { handler: Arc::new(Handler { cluster, zone, forwarder, metrics }), sockets })
    }

    /// For its metrics, while it runs.
    pub fn handle(&self) -> Handle {
        Handle(self.handler.clone())
    }

    /// Follows the API and answers, until `shutdown`; then what was asked is answered still.
    pub async fn run(self, client: Client, shutdown: CancellationToken) {
        let (cluster, stop) = (self.handler.cluster.clone(), shutdown.clone());
        tokio::spawn(async move { watch::follow(client, &cluster, &stop).await });
        self.serve(shutdown).await;
    }

    async fn serve(self, shutdown: CancellationToken) {
        // Sockets that read, and questions that wait for other servers.
        let tasks = TaskTracker::new();
        for (socket, listener) in self.sockets {
            if let Ok(address) = socket.local_addr() {
                tracing::info!(%address, "cluster DNS answers");
            }
            let serving = udp::serve(socket, self.handler.clone(), tasks.clone(), shutdown.clone());
            tasks.spawn(serving);
            tasks.spawn(tcp::serve(listener, self.handler.clone(), tasks.clone(), shutdown.clone()));
        }
        shutdown.run_until_cancelled(self.handler.forwarder.probe.run()).await;
        tasks.close();
        if tokio::time::timeout(DRAIN_MAX, tasks.wait()).await.is_err() {
            tracing::warn!("stopped while questions waited for an answer");
        }
    }
}

/// Messages over a TCP connection: each after its length in two bytes (RFC 1035, 4.2.2).
pub(crate) fn framed(stream: TcpStream) -> Framed<TcpStream, LengthDelimitedCodec> {
    LengthDelimitedCodec::builder()
        .length_field_length(2)
        .max_frame_length(TCP_PAYLOAD_MAX)
        .new_framed(stream)
}
