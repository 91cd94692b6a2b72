//! The contract between the CNI plugin and the node daemon.
#![forbid(unsafe_code)]
