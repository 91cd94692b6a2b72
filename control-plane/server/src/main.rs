//! The control plane in one binary: API server, scheduler, controllers.
#![forbid(unsafe_code)]

fn main() {}
