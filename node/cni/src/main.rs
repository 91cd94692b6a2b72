//! The short-lived CNI plugin, the daemon's side of it, and IPAM.
#![forbid(unsafe_code)]

fn main() {}
