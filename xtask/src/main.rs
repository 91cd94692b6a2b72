//! cargo xtask: bring a cluster up, take it down, test, measure, keep the tree tidy.
#![forbid(unsafe_code)]

fn main() {}
