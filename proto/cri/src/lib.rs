//! CRI v1: the contract between a node and its container runtime.
#![forbid(unsafe_code)]
