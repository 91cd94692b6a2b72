//! Kinds of networking.k8s.io.

mod ingress;
mod policy;

pub use ingress::{ingress, ingress_class, ingress_status};
pub use policy::policy;
