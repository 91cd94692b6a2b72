//! What load balancers ask a node: does it have endpoints of a Service (`healthCheckNodePort`), is its data plane well
//! (kube-proxy's `/healthz` and `/livez`).
//!
//! The rules are kube-proxy's (`pkg/proxy/healthcheck`, KEP-3836). Owns the listeners; what is true is told to it.

mod answer;
mod server;
mod state;

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use server::Listening;
pub(crate) use state::State;

use crate::{index::Key, plan::HealthCheck};

/// Services with a health check at most; what is beyond is refused by name.
const SERVICES_MAX: usize = 1024;

/// What a listener answers about.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Site {
    /// One Service's endpoints on this node.
    Service(Key),
    /// The data plane of this node.
    Proxy,
}

/// The open listeners.
#[derive(Debug)]
pub(crate) struct HealthServers {
    state: Arc<State>,
    /// Where to listen; empty: everywhere.
    addresses: Vec<IpAddr>,
    open: HashMap<Key, (u16, Listening)>,
    _proxy: Option<Listening>,
}

/// A health check that cannot be answered.
#[derive(Debug, thiserror::Error)]
#[error("the health check on port {port} does not listen: {source}")]
pub(crate) struct Refused {
    pub(crate) service: Key,
    port: u16,
    source: io::Error,
}

impl HealthServers {
    /// Answers about the data plane itself at `proxy`. Health checks of Services are at `addresses`, everywhere if there
    /// is none.
    pub(crate) fn start(state: Arc<State>, proxy: Option<SocketAddr>, addresses: Vec<IpAddr>) -> Self {
        let proxy = proxy.map(|at| Listening::when_free(at, Site::Proxy, state.clone()));
        Self { state, addresses, open: HashMap::new(), _proxy: proxy }
    }

    /// Has exactly these answered. What could not be opened is tried again the next time.
    pub(crate) async fn set(&mut self, wanted: &HashMap<Key, HealthCheck>) -> Vec<Refused> {
        self.state.set_endpoints(wanted.iter().map(|(key, check)| (key.clone(), check.local_endpoints)));
        self.open.retain(|key, (port, _)| wanted.get(key).is_some_and(|check| check.port == *port));
        let mut refused = Vec::new();
        for (service, check) in wanted {
            if self.open.contains_key(service) {
                continue;
            }
            match self.open(service, check.port).await {
                Ok(listening) => drop(self.open.insert(service.clone(), (check.port, listening))),
                Err(source) => {
                    refused.push(Refused { service: service.clone(), port: check.port, source });
                }
            }
        }
        refused
    }

    async fn open(&self, service: &Key, port: u16) -> io::Result<Listening> {
        if self.open.len() >= SERVICES_MAX {
            return Err(io::Error::other(format!("{SERVICES_MAX} health checks are answered already")));
        }
        let site = Site::Service(service.clone());
        if !self.addresses.is_empty() {
            let at: Vec<_> = self.addresses.iter().map(|&ip| SocketAddr::new(ip, port)).collect();
            return Listening::start(&at, site, self.state.clone()).await;
        }
        // An IPv6 wildcard takes both families, unless the host has no IPv6.
        let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        match Listening::start(&[both], site.clone(), self.state.clone()).await {
            Err(e) if matches!(e.kind(), io::ErrorKind::Unsupported | io::ErrorKind::AddrNotAvailable) => {
                let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
                Listening::start(&[v4], site, self.state.clone()).await
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests;
