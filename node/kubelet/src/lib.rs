//! The pod machine, probes, volumes and status of a node.
#![forbid(unsafe_code)]
