//! Every effect on the kernel: netlink, mounts, cgroups, namespaces, bpf(2), behind traits that a test records.

pub mod cgroups;
pub mod clock;
pub mod host;
pub mod inotify;
pub mod memory;
pub mod mounts;

pub mod net;
pub mod ready;
pub mod sockets;
pub mod sysctl;

pub mod bpf;
