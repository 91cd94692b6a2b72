//! Kubernetes rules that both the control plane and the node apply: pure functions, no I/O.
#![forbid(unsafe_code)]
