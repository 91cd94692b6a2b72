//! Kinds of networking.k8s.io.

mod policy;

pub use policy::policy;
