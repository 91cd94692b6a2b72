//! Node-local cluster DNS (Kubernetes DNS specification 1.1.0): a pure answer over an index, and the server around it.
//!
//! ```text
//! Services, EndpointSlices ──watch──▶ Index ──answer(query)──▶ records ──server──▶ UDP and TCP
//! ```
//! Runs as a process of its own beside the node daemon, on the cluster DNS address, so that it outlives the daemon. It
//! answers for the cluster domain and for reverse lookups; any other name is REFUSED, since nothing is forwarded yet.
#![forbid(unsafe_code)]

mod answer;
mod index;
mod server;
mod watch;

pub use answer::{Answer, answer};
pub use index::{Endpoint, EndpointSet, Index, Port, Service, ServiceKey};
pub use server::{Config, DnsError, run};
