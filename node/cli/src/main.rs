//! kubectl keelson: what the node data plane is doing, from the command line.
#![forbid(unsafe_code)]

fn main() {}
