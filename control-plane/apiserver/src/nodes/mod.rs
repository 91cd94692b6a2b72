//! Connections to the nodes' HTTPS API: logs, exec, attach, port-forward.
//!
//! The apiserver authorises, finds the pod's node, and from there only carries bytes: an upgraded connection is spliced
//! to the node's unparsed.

mod client;
mod handshake;
mod location;
mod splice;

pub(crate) use client::{NodeAddress, NodeClient, NodeError};
pub(crate) use handshake::{Handshake, read_handshake};
pub(crate) use location::{Location, NodePath, exec_location, log_location, port_forward_location};
pub(crate) use splice::{fetch, send, upgrade};
