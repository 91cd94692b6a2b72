//! The programs in a real kernel: each test has its own cgroup, network namespace and pins, and really connects.
//!
//! Needs root, a bpffs at /sys/fs/bpf, cgroup v2 and the compiled programs; else each test says why it was skipped.
//! Backends are on loopback addresses of the namespace; nothing leaves it.

mod adopt;
mod bypass;
mod change;
mod connect;
mod datagram;
mod follow;
mod grow;
mod measure;
mod node_ports;
mod stale;
mod support;
mod talk;
