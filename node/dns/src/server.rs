//! The server: sockets that a successor can share (SO_REUSEPORT), and the index behind them.

use crate::{
    answer::{Answer, answer},
    index::Index,
    watch,
};
use hickory_proto::{
    op::{Metadata, ResponseCode},
    rr::Name,
};
use hickory_server::{
    net::runtime::Time,
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo, Server},
    zone_handler::MessageResponseBuilder,
};
use kube::Client;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, listen, setsockopt, socket, sockopt,
};
use parking_lot::RwLock;
use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsRawFd, OwnedFd},
    sync::Arc,
    time::Duration,
};
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;

const PORT: u16 = 53;
/// A TCP client that says nothing for this long is closed.
const TCP_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that may wait to be taken.
const TCP_BACKLOG: i32 = 128;
/// Answers that may wait for a slow TCP client.
const TCP_ANSWERS_MAX: usize = 32;

/// What the server needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cluster DNS address; the node daemon puts it on `lo`, sooner or later.
    pub listen: Ipv4Addr,
    /// Usually `cluster.local`.
    pub cluster_domain: String,
}

/// What ended the server.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// The cluster domain is no DNS name.
    #[error("`{0}` is not a DNS name")]
    Domain(String),
    /// A socket could not be had.
    #[error("listening on {address} ({protocol})")]
    Listen {
        /// Where.
        address: SocketAddrV4,
        /// UDP or TCP.
        protocol: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Serves until `shutdown`. Until the first whole lists are there the answer is SERVFAIL: a client then asks again,
/// where NXDOMAIN would be believed.
pub async fn run(client: Client, config: Config, shutdown: CancellationToken) -> Result<(), DnsError> {
    let domain = Name::from_utf8(&config.cluster_domain)
        .map(|mut name| {
            name.set_fqdn(true);
            name.to_lowercase()
        })
        .map_err(|_| DnsError::Domain(config.cluster_domain.clone()))?;
    let index = Arc::new(RwLock::new(Index::default()));
    let (services, services_synced) = tokio::sync::watch::channel(false);
    let (slices, slices_synced) = tokio::sync::watch::channel(false);
    tokio::spawn(watch::services(client.clone(), index.clone(), services, shutdown.clone()));
    tokio::spawn(watch::slices(client, index.clone(), slices, shutdown.clone()));
    let mut server = Server::new(Handler { index, domain, synced: [services_synced, slices_synced] });
    let address = SocketAddrV4::new(config.listen, PORT);
    let failed = |protocol| move |source| DnsError::Listen { address, protocol, source };
    server.register_socket(udp(address).map_err(failed("UDP"))?);
    let listener = tcp(address).map_err(failed("TCP"))?;
    server.register_listener(listener, TCP_TIMEOUT, TCP_ANSWERS_MAX);
    tracing::info!(%address, "cluster DNS answers");
    shutdown.cancelled().await;
    if let Err(error) = server.shutdown_gracefully().await {
        tracing::warn!(%error, "stopping the DNS server");
    }
    Ok(())
}

fn udp(address: SocketAddrV4) -> io::Result<UdpSocket> {
    UdpSocket::from_std(bound(SockType::Datagram, address)?.into())
}

fn tcp(address: SocketAddrV4) -> io::Result<TcpListener> {
    let socket = bound(SockType::Stream, address)?;
    listen(&socket, Backlog::new(TCP_BACKLOG)?)?;
    TcpListener::from_std(socket.into())
}

/// A second process can bind the same address before the first one goes: no query is lost at an upgrade. Nor need the
/// address be on a link yet: the node daemon, which puts it there, may start later.
fn bound(kind: SockType, address: SocketAddrV4) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Inet, kind, flags, None)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    setsockopt(&socket, sockopt::ReusePort, &true)?;
    setsockopt(&socket, sockopt::IpFreebind, &true)?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(address))?;
    Ok(socket)
}

struct Handler {
    index: Arc<RwLock<Index>>,
    domain: Name,
    synced: [tokio::sync::watch::Receiver<bool>; 2],
}

impl Handler {
    fn answer(&self, request: &Request) -> Answer {
        let failure = |code| Answer { code, records: vec![], soa: None };
        let Ok(info) = request.request_info() else { return failure(ResponseCode::FormErr) };
        if self.synced.iter().any(|synced| !*synced.borrow()) {
            return failure(ResponseCode::ServFail);
        }
        let query = info.query.original();
        let mut answer = answer(&self.index.read(), &self.domain, query.name(), query.query_type());
        // Clients take the first address: each query starts at another one.
        let records = answer.records.len().max(1);
        answer.records.rotate_left(usize::from(info.metadata.id) % records);
        answer
    }
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut responder: R,
    ) -> ResponseInfo {
        let answer = self.answer(request);
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = answer.code;
        metadata.authoritative =
            answer.code != ResponseCode::Refused && answer.code != ResponseCode::ServFail;
        let builder = MessageResponseBuilder::from_message_request(request);
        let response = builder.build(metadata, &answer.records, None, answer.soa.as_ref(), None);
        match responder.send_response(response).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(%error, "a client went before its answer");
                ResponseInfo::from(hickory_proto::op::Header { metadata, counts: Default::default() })
            }
        }
    }
}
