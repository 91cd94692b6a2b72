//! The node authorizer: a node daemon may read what the pods bound to its node use, and nothing else of that sort.
//! (<https://kubernetes.io/docs/reference/access-authn-authz/node/>)
//!
//! What a node may do to its own objects is judged here by name; whether the content of such a write is right is the
//! business of the admission plugin NodeRestriction.

mod authorizer;
mod graph;

pub use graph::{NodeGraph, Referent, Related};

pub(super) use authorizer::authorize;
pub use graph::{for_each_config_map, for_each_secret};
