//! Requests to peers, over connections that are kept while they are of use.
//!
//! A peer is a host together with how it is spoken to; what differs in either never shares a connection.

use crate::{Identity, Resolve, TlsError, TransportError, Trust, dial::Dialer, tls};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, ResolveServerName};
use hyper_util::{
    client::legacy::{self, Client},
    rt::{TokioExecutor, TokioTimer},
};
use quick_cache::sync::Cache;
use rustls::CertificateError;
use rustls_pki_types::ServerName;
use std::{
    error::Error,
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

/// Peers whose connections are kept; of more, those not used longest are forgotten.
const PEERS_MAX: usize = 256;
/// Idle connections kept for a peer.
const IDLE_CONNECTIONS_MAX: usize = 25;
/// How long a connection is kept without use: shorter than servers keep theirs (90 s and more), so that none is closed
/// under a request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// An error of a body, its type forgotten.
pub type BoxError = Box<dyn Error + Send + Sync>;
/// A request's body.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Where a peer is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A Service of this cluster, met at one of its ready endpoints. In certificates it is `<name>.<namespace>.svc`.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The Service's port.
        port: u16,
    },
    /// A name of DNS, or the text of an address.
    Name {
        /// The name; IPv6 addresses in brackets.
        name: String,
        /// The port.
        port: u16,
    },
    /// An address.
    Address(SocketAddr),
}

/// How a peer is spoken to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https(Trust),
}

/// The other end of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// How.
    pub scheme: Scheme,
    /// Where.
    pub host: Host,
    /// Whether we show the transport's certificate.
    pub identified: bool,
}

impl Peer {
    /// `scheme://host:port`, as URLs and error texts have it.
    pub fn origin(&self) -> String {
        let scheme = if self.scheme == Scheme::Http { "http" } else { "https" };
        match &self.host {
            Host::Address(address) => format!("{scheme}://{address}"),
            host => format!("{scheme}://{}:{}", host.name(), host.port()),
        }
    }
}

impl Host {
    fn name(&self) -> String {
        match self {
            Self::Service { namespace, name, .. } => format!("{name}.{namespace}.svc"),
            Self::Name { name, .. } => name.clone(),
            Self::Address(address) => address.ip().to_string(),
        }
    }

    fn port(&self) -> u16 {
        match self {
            Self::Service { port, .. } | Self::Name { port, .. } => *port,
            Self::Address(address) => address.port(),
        }
    }
}

type Pool = Client<HttpsConnector<Dialer>, Body>;

/// Sends requests. One for the whole server.
pub struct Transport {
    resolve: Arc<dyn Resolve>,
    /// Held while a pool is made with it, so that none is made with one that was replaced.
    identity: RwLock<Option<Identity>>,
    pools: Cache<Peer, Pool>,
}

impl Transport {
    /// `identity` is what peers see that are to know us.
    pub fn new(resolve: Arc<dyn Resolve>, identity: Option<Identity>) -> Self {
        Self { resolve, identity: RwLock::new(identity), pools: Cache::new(PEERS_MAX) }
    }

    /// Shows another identity from the next connection on; requests that have one go on.
    ///
    /// # Errors
    /// Certificate and key do not belong together: nothing changes.
    pub fn set_identity(&self, identity: Identity) -> Result<(), TlsError> {
        tls::config(&Trust::Anybody, Some(&identity))?;
        let mut own = self.identity.write().unwrap_or_else(PoisonError::into_inner);
        *own = Some(identity);
        self.pools.clear();
        Ok(())
    }

    /// Sends a request whose URI is [`Peer::origin`] and a path; the answer's body comes as it streams, and an upgraded
    /// connection can be had from it by [`hyper::upgrade::on`]. Unbounded in time.
    pub async fn send(
        &self,
        peer: &Peer,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, TransportError> {
        let pool = {
            let identity = self.identity.read().unwrap_or_else(PoisonError::into_inner);
            self.pools.get_or_insert_with(peer, || self.pool(peer, identity.as_ref()))?
        };
        pool.request(request).await.map_err(|error| broken(&error))
    }

    fn pool(&self, peer: &Peer, identity: Option<&Identity>) -> Result<Pool, TlsError> {
        let trust = match &peer.scheme {
            Scheme::Https(trust) => trust,
            // Never looked at: the connector speaks TLS to https alone.
            Scheme::Http => &Trust::Anybody,
        };
        let identity = identity.filter(|_| peer.identified);
        let config = tls::config(trust, identity)?;
        let dialer = Dialer { host: peer.host.clone(), resolve: self.resolve.clone() };
        let name = Arc::new(Named(peer.host.name()));
        let connector = HttpsConnector::new(dialer, config, peer.scheme != Scheme::Http, name);
        Ok(Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(connector))
    }
}

/// The name that a peer's certificate must have.
struct Named(String);

impl ResolveServerName for Named {
    fn resolve(&self, _: &http::Uri) -> Result<ServerName<'static>, BoxError> {
        let bare = self.0.trim_start_matches('[').trim_end_matches(']');
        Ok(ServerName::try_from(bare.to_owned())?)
    }
}

/// The cause alone: what hyper adds around it says nothing to a user.
fn broken(error: &legacy::Error) -> TransportError {
    let mut cause: &(dyn Error + 'static) = error;
    loop {
        let inner = cause.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
        let next = match inner {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => cause.source(),
        };
        match next {
            Some(next) => cause = next,
            None => break,
        }
    }
    let text = match cause.downcast_ref::<rustls::Error>() {
        Some(rustls::Error::InvalidCertificate(why)) => certificate_text(why),
        Some(other) => format!("tls: {other}"),
        None => cause.to_string(),
    };
    if error.is_connect() { TransportError::Unreachable(text) } else { TransportError::Broken(text) }
}

/// Go's words for the usual ones.
fn certificate_text(error: &CertificateError) -> String {
    let why = match error {
        // The second is an authority of the right name with another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "x509: certificate signed by unknown authority".to_owned()
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            format!("x509: certificate has expired or is not yet valid: {error}")
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let presented = presented.join(", ");
            format!("x509: certificate is valid for {presented}, not {}", expected.to_str())
        }
        other => other.to_string(),
    };
    format!("tls: failed to verify certificate: {why}")
}
