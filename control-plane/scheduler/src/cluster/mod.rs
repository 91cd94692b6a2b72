//! What the scheduler knows of the cluster: nodes with the pods on them, assumed ones included.

mod amounts;
mod cache;
mod node_info;
mod pod_info;
mod snapshot;

pub(crate) use amounts::Amounts;
pub(crate) use cache::Cache;
pub(crate) use node_info::NodeInfo;
pub(crate) use pod_info::{HostPort, PodInfo, Spread, Term};
pub(crate) use snapshot::Snapshot;
