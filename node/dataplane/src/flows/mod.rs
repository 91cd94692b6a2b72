//! What the programs measure, with names: how connections to each Service went, by backend, and the stream of events.
//!
//! ```text
//!  TOTALS (ended) ──┐
//!                   ├─▶ meter ──rows by frontend──▶ named by the index ──▶ Snapshot
//!  CONNECTIONS (open)┘                                ▲
//!                              tenure: since when an address is a Service's
//!  FLOWS (ring) ──▶ stream ──▶ whoever listens
//! ```
//! The sums live in the kernel and outlive this process; nothing is accumulated here. Does not say how it is shown (`proto/observer`,
//! the agent) or what a program counts (`ebpf/common`'s `metrics`).

mod figures;
mod meter;
mod stream;
mod tenure;

pub use figures::Figures;
pub(crate) use meter::Meter;
pub use meter::{Pair, Snapshot};
pub(crate) use stream::Reader;
pub use stream::{FlowEvent, Flows};
pub(crate) use tenure::{Tenure, fingerprint};

/// A Service port by name.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PortName {
    /// The Service's namespace.
    pub namespace: Box<str>,
    /// The Service's name.
    pub service: Box<str>,
    /// The port's name, empty when it has none.
    pub port: Box<str>,
}
