//! One connection to a node: TCP, TLS with the apiserver's kubelet client certificate, HTTP/1.1.

use crate::wire::Body;
use arc_swap::ArcSwap;
use bytes::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use keelson_webhook::{Identity, TlsError, Trust};
use rustls_pki_types::ServerName;
use std::{net::IpAddr, sync::Arc, time::Duration};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A node that does not accept within this is unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a node's API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeAddress {
    /// The Node object's name, for messages.
    pub(crate) node: String,
    /// Its InternalIP.
    pub(crate) ip: IpAddr,
    /// `status.daemonEndpoints.kubeletEndpoint.Port`.
    pub(crate) port: u16,
}

/// Why a node cannot be spoken to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    /// No TCP connection.
    #[error("error dialing backend: dial tcp {ip}:{port}: {source}")]
    Dial {
        /// Where.
        ip: IpAddr,
        /// Where.
        port: u16,
        /// Why.
        source: std::io::Error,
    },
    /// No answer in time.
    #[error("error dialing backend: dial tcp {ip}:{port}: i/o timeout after {timeout_s} s")]
    Timeout {
        /// Where.
        ip: IpAddr,
        /// Where.
        port: u16,
        /// How long.
        timeout_s: u64,
    },
    /// The path, built from a pod's names and a request's options, is none.
    #[error("the node {node} cannot be asked for {path:?}: {source}")]
    Path {
        /// Which.
        node: String,
        /// For what.
        path: String,
        /// Why.
        source: http::uri::InvalidUri,
    },
    /// The node broke off the HTTP exchange.
    #[error("the node {node} did not answer: {source}")]
    Http {
        /// Which.
        node: String,
        /// Why.
        source: hyper::Error,
    },
}

/// Connects to nodes.
pub(crate) struct NodeClient {
    connector: ArcSwap<TlsConnector>,
}

impl NodeClient {
    /// Verifies nodes against `ca_pem` and shows them `cert_pem`.
    pub(crate) fn new(ca_pem: &str, cert_pem: &str, key_pem: &str) -> Result<Self, TlsError> {
        Ok(Self { connector: ArcSwap::from_pointee(Self::connector(ca_pem, cert_pem, key_pem)?) })
    }

    /// What [`NodeClient::set`] takes.
    pub(crate) fn connector(ca_pem: &str, cert_pem: &str, key_pem: &str) -> Result<TlsConnector, TlsError> {
        let identity = Identity::from_pem(cert_pem, key_pem)?;
        let trust = Trust::Bundle(Bytes::copy_from_slice(ca_pem.as_bytes()));
        Ok(TlsConnector::from(keelson_webhook::tls_config(&trust, Some(&identity))?))
    }

    /// Verifies and shows something else from the next connection on.
    pub(crate) fn set(&self, connector: TlsConnector) {
        self.connector.store(Arc::new(connector));
    }

    /// Opens a connection for one exchange; its driver runs on until the exchange or the upgraded stream ends.
    pub(crate) async fn connect(&self, to: &NodeAddress) -> Result<http1::SendRequest<Body>, NodeError> {
        let (ip, port) = (to.ip, to.port);
        let dial = async {
            let stream = TcpStream::connect((ip, port)).await?;
            stream.set_nodelay(true)?;
            self.connector.load_full().connect(ServerName::IpAddress(ip.into()), stream).await
        };
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, dial)
            .await
            .map_err(|_| NodeError::Timeout { ip, port, timeout_s: CONNECT_TIMEOUT.as_secs() })?
            .map_err(|source| NodeError::Dial { ip, port, source })?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|source| NodeError::Http { node: to.node.clone(), source })?;
        let node = to.node.clone();
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(node, %error, "a connection to a node ended early");
            }
        });
        Ok(sender)
    }
}
