//! What the end-to-end tests share: kubectl, the API, namespaces of their own, waiting, the nodes, load.
//!
//! Nothing in this library knows how Keelson is built: it drives a running cluster (KUBECONFIG) from outside, and the local cluster of
//! `cargo xtask up` where a test has to kill a process or to act as one of a node.
#![forbid(unsafe_code)]

pub mod api;
pub mod cluster;
pub mod count;
pub mod figures;
pub mod fleet;
pub mod flood;
pub mod kubectl;
pub mod load;
pub mod manifest;
pub mod namespace;
pub mod oci;
pub mod outside;
pub mod process;
pub mod registry;
pub mod sctp;
pub mod stream;
pub mod wait;
pub mod wires;

pub use cluster::Cluster;
pub use kubectl::{kubectl, refused};
pub use namespace::Namespace;
pub use registry::Registry;
pub use wait::{PATIENCE, eventually};
