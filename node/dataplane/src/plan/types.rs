//! The projections that a plan is made from, and the plan itself: only the fields that are read.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
pub use keelson_ebpf_common::net::Protocol;

use super::Announced;
#[cfg(doc)]
use super::node_fingerprint;
/// The annotation by which a Service says how packets from outside reach it: `dsr` or `snat`.
pub const FORWARDING: &str = "keelson.dev/forwarding";

/// The node that a plan is for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Node {
    /// Its label `topology.kubernetes.io/zone`.
    pub zone: Option<Box<str>>,
    /// Its own addresses, loopback among them: where host ports are reached.
    pub addresses: Vec<IpAddr>,
    /// Where its node ports are reached; loopback addresses mean the node's own sockets.
    pub port_addresses: Vec<IpAddr>,
    /// Addresses of those whose sockets are translated here: its pods' and its own.
    pub clients: Vec<IpNet>,
}

/// A Service of the API, as far as the data plane cares. Headless and ExternalName Services have no `cluster_ips`, and
/// without a cluster address of a family nothing of that family is programmed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ServiceView {
    /// `spec.clusterIPs`, one or two.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress`: those whose traffic arrives with that address (`ipMode` VIP or none).
    pub load_balancer_ips: Vec<IpAddr>,
    /// Without `spec.loadBalancerClass`: the cluster's own, for whose addresses its nodes answer.
    pub own_load_balancer: bool,
    /// `spec.loadBalancerSourceRanges`; empty: everybody.
    pub source_ranges: Vec<IpNet>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `spec.internalTrafficPolicy: Local`: the cluster addresses lead to endpoints of this node only.
    pub internal_local: bool,
    /// `spec.externalTrafficPolicy: Local`, of a Service that can be reached from outside.
    pub external_local: bool,
    /// `spec.healthCheckNodePort`, where there is something to check.
    pub health_check_port: Option<u16>,
    /// Session affinity in seconds, 0 for none.
    pub affinity_s: u32,
    /// How packets from outside are to reach backends on other nodes; `None`: as the node does by default.
    pub forwarding: Option<Forwarding>,
    /// What it says instead of that and is no such way.
    pub unknown_forwarding: Option<Box<str>>,
    /// Without endpoints its cluster addresses are answered by the node itself (cluster DNS): then they are left alone.
    pub node_answers: bool,
}

/// How packets from outside reach a backend on another node.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Forwarding {
    /// With the node's address as their source, so that answers come back to it.
    #[default]
    Snat,
    /// With the client's address; the backend's node answers the client itself (direct server return).
    Dsr,
}

/// One of a Service's ports.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServicePort {
    /// Name, empty when it has none; slices name their ports by it.
    pub name: Box<str>,
    /// Number that clients connect to.
    pub number: u16,
    /// Number on the nodes' addresses.
    pub node_port: Option<u16>,
    /// `None` for a protocol that is none of the API's.
    pub protocol: Option<Protocol>,
}

/// A pod of this node with host ports.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PodView {
    /// `status.podIPs`.
    pub ips: Vec<IpAddr>,
    /// Its containers' ports that are also ports of the node.
    pub ports: Vec<HostPort>,
}

/// A port of a container that is also a port of its node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostPort {
    /// `hostPort`.
    pub number: u16,
    /// `hostIP`; `None`: at every address of the node.
    pub host_ip: Option<IpAddr>,
    /// `containerPort`.
    pub target: u16,
    /// `None` for a protocol that is none of the API's.
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

impl Family {
    /// That of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
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
    /// `None` for a protocol that is none of the API's.
    pub protocol: Option<Protocol>,
}

/// An endpoint. Absent conditions are already resolved, as the API reference says: no `ready` means ready, no
/// `serving` means as `ready`, no `terminating` means no.
#[derive(Clone, Debug, Eq, PartialEq)]
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
    /// [`node_fingerprint`] of the node that it runs on.
    pub node: Option<u64>,
    /// `hints.forNodes`.
    pub node_hint: NodeHint,
    /// `hints.forZones`; empty: no hint.
    pub zone_hints: Box<[Box<str>]>,
}

/// What an endpoint's `hints.forNodes` mean here.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum NodeHint {
    /// There is none.
    #[default]
    Absent,
    /// This node is named.
    Here,
    /// Only other nodes are.
    Elsewhere,
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

/// By what right a Service has a frontend. Of two Services that ask for one frontend the smaller has it: an address
/// that the cluster gave out is not taken by whoever writes it into `externalIPs` (CVE-2020-8554).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum FrontendKind {
    /// `spec.clusterIPs`.
    ClusterIp,
    /// `status.loadBalancer.ingress`.
    LoadBalancer,
    /// `spec.externalIPs`.
    ExternalIp,
    /// A node port on an address of the node.
    NodePort,
    /// A host port of a pod.
    HostPort,
}

/// A frontend that sockets of this node are to have, and by what right.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PlannedFrontend {
    /// By what right.
    pub kind: FrontendKind,
    /// Itself.
    pub frontend: Frontend,
}

/// A frontend that packets from outside may name: node ports, external and load balancer addresses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExternalFrontend {
    /// What clients connect to.
    pub key: FrontendKey,
    /// Sorted, without duplicates.
    pub backends: Vec<Backend>,
    /// `externalTrafficPolicy: Local`: the backends are of this node, and clients keep their address.
    pub local_backends_only: bool,
    /// Who may connect; empty: everybody.
    pub source_ranges: Vec<IpNet>,
    /// Session affinity in seconds, 0 for none.
    pub affinity_s: u32,
    /// How packets reach backends on other nodes; `None`: as the node does by default.
    pub forwarding: Option<Forwarding>,
}

/// A node port in use.
pub type NodePort = (u16, Protocol);

/// What a `healthCheckNodePort` answers with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HealthCheck {
    /// The port.
    pub port: u16,
    /// Ready endpoints of this node.
    pub local_endpoints: usize,
}

/// All that a Service asks for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Plan {
    /// Its frontends for sockets of this node.
    pub frontends: Vec<PlannedFrontend>,
    /// Its frontends for packets from outside.
    pub external: Vec<ExternalFrontend>,
    /// Ports of the node that are no process's to bind.
    pub node_ports: Vec<NodePort>,
    /// Of each UDP frontend, the backends that still serve: sockets that were sent to another are to be told.
    pub serving_udp: Vec<(FrontendKey, Vec<Backend>)>,
    /// Its addresses that some node answers for on the nodes' wire.
    pub announced: Vec<Announced>,
    /// Its health check.
    pub health: Option<HealthCheck>,
    /// What it asks for and does not get.
    pub unprogrammed: Vec<Unprogrammed>,
}

/// Something that a Service asks for and does not get.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Unprogrammed {
    /// A port whose protocol is none of the API's.
    Protocol(u16),
    /// A port of SCTP, and that of an endpoint, which is another.
    SctpPort {
        /// The Service's: the port, or the node port.
        port: u16,
        /// The endpoint's.
        target: u16,
    },
    /// `loadBalancerSourceRanges` leave out clients of this node: a socket has no source address before it is
    /// connected, so nobody is translated here rather than everybody.
    SourceRanges(IpAddr),
    /// Another Service has the frontend by a better or older right.
    Claimed(FrontendKey),
    /// Its annotation names a way of forwarding that there is not.
    Forwarding(Box<str>),
}

impl fmt::Display for Unprogrammed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(port) => write!(f, "port {port} is none of TCP, UDP and SCTP: not programmed"),
            Self::SctpPort { port, target } => write!(
                f,
                "SCTP: port {port} differs from targetPort {target}, and its packets' checksum counts the ports: not programmed"
            ),
            Self::SourceRanges(address) => write!(
                f,
                "load balancer address {address} is not programmed for the clients of this node: \
                 loadBalancerSourceRanges do not admit all of them"
            ),
            Self::Forwarding(said) => {
                write!(
                    f,
                    "annotation {FORWARDING}: {said:?} is neither dsr nor snat: forwarded as by default"
                )
            }
            Self::Claimed(frontend) => write!(f, "{frontend} belongs to another Service: not programmed"),
        }
    }
}

impl fmt::Display for FrontendKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:?}", self.socket(), self.protocol)
    }
}
