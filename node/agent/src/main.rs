//! The node daemon: configuration, wiring, drain and the kubelet's HTTPS API.
#![forbid(unsafe_code)]

fn main() {}
