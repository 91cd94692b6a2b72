//! A whole kubelet, as users see it: between a scripted API server and a fake runtime (`fake`), or a real
//! containerd (`containerd`).
#![forbid(unsafe_code)]

mod containerd;
mod fake;
mod support;
