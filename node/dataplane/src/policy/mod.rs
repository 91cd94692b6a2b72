//! Network policies: which connections the pods of this node may have.
//!
//! ```text
//!  pods, namespaces, policies ──watch──▶ index ──dirty──▶ planner ──changes──▶ packet::policies ──▶ kernel
//!                                     (projections)       (pure)                 (executor)
//! ```
//! The vocabulary, which is that of the maps too (`keelson_ebpf_common::policy`):
//! - a **profile** is what pods are selected by: namespace, labels, named ports. Pods of one workload share it.
//! - a **group** is what a pod of this node may do: everything that the policies which select it allow. Pods to which the same
//!   applies share it.
//! - a **peer** is a selector or a block of addresses that some group names.
//! - a **class** is what an address is to the groups: the peers that it belongs to. Addresses that belong to the same
//!   share it; most pods of a cluster belong to none, and are not in the maps.
//! - a **verdict** lets a group and a class have connections in one direction with some ports. There is no entry that forbids.
//!
//! Groups and classes are numbered by a hash of what they are, so their entries never change: a change makes new ones,
//! then moves endpoints and addresses over, each at once, then drops the old. And a daemon that starts comes to the
//! numbers that it finds in the kernel.
//!
//! Rules: <https://kubernetes.io/docs/concepts/services-networking/network-policies/>. Pods in the host's network are not
//! selected, and are seen as their node; a node and its own pods always reach each other.
//! Does not own the maps (`packet`), nor how packets are judged (`ebpf/programs`).

mod compile;
mod explain;
mod follow;
mod ids;
mod index;
mod labels;
mod objects;
mod peers;
mod planner;
mod ports;
mod profiles;
mod types;

#[cfg(test)]
mod tests;

pub use explain::{Connection, Selecting};
pub(crate) use explain::{Question, Questions};
pub(crate) use follow::{Follower, events};
use index::{Index, PolicySeen};
use planner::{Planner, Shortage};
pub use types::{Changes, EndpointPolicy, PodKey, PodPolicy, PortPrefix, Prefix, Verdict};
