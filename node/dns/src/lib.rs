//! Node-local cluster DNS (Kubernetes DNS specification 1.1.0): a pure answer over an index, and the server around it.
//!
//! ```text
//! Services, EndpointSlices ──watch──▶ Index ──answer(query)──▶ records ──┐
//!                                                │ not the cluster's     ├──server──▶ UDP and TCP
//!                                                └──forward──▶ cache ────┘
//! ```
//! Runs as a process of its own beside the node daemon, on the cluster DNS addresses, so that it outlives the daemon. What is
//! not the cluster's is asked of the node's own servers, or of those of a stub zone. Endpoints that a user puts behind the
//! Service kube-system/kube-dns win without our doing: the data plane sends clients there.
#![forbid(unsafe_code)]

mod answer;
mod cache;
mod forward;
mod index;
mod message;
mod metrics;
mod objects;
mod server;
mod watch;

pub use answer::{Answer, Outcome, Zone, answer};
pub use cache::{CACHE_BYTES_MAX, CACHE_ENTRIES_MAX};
pub use forward::{IN_FLIGHT_MAX, SERVERS_MAX, Stub, Upstream, UpstreamError};
pub use index::{Endpoint, EndpointSet, Index, Key, Port, Protocol, Service};
pub use server::{Config, DnsError, Handle, PORT, Server, listener};
