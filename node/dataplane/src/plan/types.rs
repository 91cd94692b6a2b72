//! The projections that a plan is made from, and the plan itself: only the fields that are read.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
pub use keelson_ebpf_common::net::Protocol;

/// A Service of the API, as far as the data plane cares. Headless and ExternalName Services have no `cluster_ips`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ServiceView {
    /// `spec.clusterIPs`, one or two.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `spec.internalTrafficPolicy: Local`: only endpoints of this node.
    pub local_only: bool,
    /// Session affinity in seconds, 0 for none.
    pub affinity_s: u32,
    /// Without endpoints its addresses are answered by the node itself (cluster DNS): then they are left alone.
    pub node_answers: bool,
    /// What it asks for beyond its cluster addresses.
    pub unprogrammed: Vec<Unprogrammed>,
}

/// One of a Service's ports.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServicePort {
    /// Name, empty when it has none; slices name their ports by it.
    pub name: Box<str>,
    /// Number that clients connect to.
    pub number: u16,
    /// `None` for a protocol that socket hooks do not see (SCTP).
    pub protocol: Option<Protocol>,
}

/// The family of a slice's addresses.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Family {
    /// `addressType: IPv4`.
    V4,
    /// `addressType: IPv6`.
    V6,
}

/// An EndpointSlice, as far as the data plane cares.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SliceView {
    /// Its `addressType`; slices of FQDNs are never projected.
    pub family: Family,
    /// Its ports, with named target ports resolved by whoever wrote the slice.
    pub ports: Vec<SlicePort>,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// A port of a slice.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SlicePort {
    /// The Service port's name, empty when it has none.
    pub name: Box<str>,
    /// Number that pods listen on.
    pub number: u16,
    /// `None` for a protocol that socket hooks do not see.
    pub protocol: Option<Protocol>,
}

/// An endpoint. Absent conditions are already resolved, as the API reference says: no `ready` means ready, no
/// `serving` means as `ready`, no `terminating` means no.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// Its first address; the API says that the others are for nobody.
    pub address: IpAddr,
    /// Takes new connections (or the Service publishes it regardless).
    pub ready: bool,
    /// Could take connections, terminating or not.
    pub serving: bool,
    /// Its pod is being deleted.
    pub terminating: bool,
    /// Runs on this node.
    pub local: bool,
}

/// What clients connect to.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FrontendKey {
    /// The Service's address.
    pub address: IpAddr,
    /// The Service's port.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

impl FrontendKey {
    /// Address and port.
    pub fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

/// Where connections go; of the frontend's family.
pub type Backend = SocketAddr;

/// A frontend and where it leads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frontend {
    /// What clients connect to.
    pub key: FrontendKey,
    /// Sorted, without duplicates. Empty: connections are refused.
    pub backends: Vec<Backend>,
    /// Session affinity in seconds, 0 for none.
    pub affinity_s: u32,
}

/// A frontend that is reached from outside of the cluster, and where it leads: a node port, an external address, a load
/// balancer's address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExternalFrontend {
    /// What clients connect to.
    pub key: FrontendKey,
    /// Sorted, without duplicates. With `externalTrafficPolicy: Local` those of this node alone.
    pub backends: Vec<Backend>,
    /// `externalTrafficPolicy: Local`: without backends, connections are dropped rather than refused.
    pub local_backends_only: bool,
    /// `loadBalancerSourceRanges`; empty for everybody.
    pub source_ranges: Vec<IpNet>,
    /// Session affinity in seconds, 0 for none.
    pub affinity_s: u32,
}

/// All that a Service asks for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Plan {
    /// Its frontends.
    pub frontends: Vec<Frontend>,
    /// Those that are reached from outside.
    pub external: Vec<ExternalFrontend>,
    /// What it asks for and does not get.
    pub unprogrammed: Vec<Unprogrammed>,
}

/// Something that Kubernetes has and this data plane has not yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unprogrammed {
    /// A node port.
    NodePort(u16),
    /// `spec.externalIPs`.
    ExternalIps,
    /// Addresses of a load balancer.
    LoadBalancer,
    /// A port whose protocol socket hooks do not see.
    Protocol(u16),
}

impl fmt::Display for Unprogrammed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NodePort(port) => write!(f, "node port {port} is not programmed yet"),
            Self::ExternalIps => write!(f, "externalIPs are not programmed yet"),
            Self::LoadBalancer => write!(f, "load balancer addresses are not programmed yet"),
            Self::Protocol(port) => write!(f, "port {port} is neither TCP nor UDP: not programmed yet"),
        }
    }
}

impl fmt::Display for FrontendKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:?}", self.socket(), self.protocol)
    }
}
