//! Pod network of a node: addresses, links, and the routes to other nodes' pods.
//!
//! The runtime runs the plugin (`keelson-cni`), which asks the daemon's [`server`] over a Unix socket. An address is on
//! disk with its sandbox before ADD answers ([`ipam`]); what the kernel is told is planned as data ([`link`]) and carried
//! out by `keelson_sys::net`. Each pod is reached over its own veth pair and a host route, without a bridge and without
//! ARP: both ends know each other's hardware address from the start.
//!
//! Nodes that are not adjacent are reached through a VXLAN device ([`tunnel`]).
//!
//! Not here: Services and NetworkPolicy (the data plane).
#![forbid(unsafe_code)]

pub mod bandwidth;
pub mod conf;
pub mod ipam;
pub mod link;
pub mod nodes;
pub mod ranges;
pub mod routes;
pub mod server;
pub mod tunnel;
