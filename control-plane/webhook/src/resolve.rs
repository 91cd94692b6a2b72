//! The seam to the cluster: from a Service to an address that answers for it now.

use std::net::SocketAddr;

/// Finds an endpoint of a Service. Asked once for each new connection, so it must be cheap: implementations look into
/// caches.
pub trait Resolve: Send + Sync + 'static {
    /// The address of one ready endpoint behind `port` of the Service.
    fn resolve(&self, namespace: &str, name: &str, port: u16) -> Result<SocketAddr, ResolveError>;
}

/// Why a Service has no address, in upstream's words (`k8s.io/apiserver/pkg/util/proxy`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// There is no Service of that name.
    #[error("service {0:?} not found")]
    NotFound(String),
    /// A type that has no endpoints of its own (ExternalName).
    #[error("unsupported service type {0:?}")]
    Unsupported(String),
    /// The Service has no such port.
    #[error("no service port {port} found for service {service:?}")]
    NoPort {
        /// The Service's name.
        service: String,
        /// The port asked for.
        port: u16,
    },
    /// Nobody is ready behind it.
    #[error("no endpoints available for service {0:?}")]
    NoEndpoints(String),
    /// The cluster cannot be read now.
    #[error("services cannot be resolved: {0}")]
    Unknown(String),
}
