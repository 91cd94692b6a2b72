//! The local cluster: one control plane and N nodes on this machine.
//!
//! With one node, it is this machine: its network namespace, the root of its cgroup2 tree. With several, each node (and
//! the control plane) is a network namespace on a bridge that lies in a namespace of its own, plus a cgroup subtree.
//! Everything is made by "ensure", so that a second `up` is harmless and one after a crash recovers:
//!
//! ```text
//!   host ── keelson0 ══ [keelson-net: bridge] ══ eth0 [keelson-cp: control plane]   172.30.0.2  fd00:172:30::2
//!                                             ══ eth0 [keelson-n1: node]            172.30.0.11 fd00:172:30::b
//!                                             ══ eth0 [keelson-n2: node]            172.30.0.12 fd00:172:30::c
//! ```
//!
//! With several segments the last nodes have a wire each, to a router (`up --segments 2`, three nodes):
//!
//! ```text
//! [keelson-net: bridge] ══ eth0 [keelson-router] n3 ══ eth0 [keelson-n3: node]           172.30.1.13 fd00:172:30:1::d
//! ```

mod cgroup;
mod containerd;
mod control_plane;
mod daemon;
pub(crate) mod down;
pub(crate) mod enter;
mod netfilter;
mod network;
mod node;
mod spec;
pub(crate) mod up;

pub(crate) use spec::{IpFamily, Spec, Store, Translation, Tunnel};
