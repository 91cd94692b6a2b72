//! Every effect on the kernel: netlink, mounts, cgroups, namespaces, bpf(2), behind traits that a test records.

pub mod bpf;
