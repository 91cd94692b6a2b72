//! End to end over the public API of a running cluster.
#![forbid(unsafe_code)]
