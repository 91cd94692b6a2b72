//! The per-packet programs, each run once on a packet in the real kernel: verdict and bytes, for every branch that drops or
//! rewrites. Nothing is sent.
//!
//! Needs root, a bpffs at /sys/fs/bpf and the compiled programs; else each test says why it was skipped.

mod altered;
mod arp;
mod attach;
mod direct;
mod errors;
mod extensions;
mod external;
mod forward;
mod held;
mod lab;
mod masquerade;
mod ndp;
mod pace;
mod packet;
mod policies;
mod sctp;
mod services;
mod translate;
mod tunnel;
mod wire;
mod wire6;

#[path = "../shared/node.rs"]
mod node;
