//! Priority and fairness (KEP-1040): which request runs now, which waits its turn, which is sent away.
//!
//! ```text
//! request ──> [Configuration] first FlowSchema that matches ──> priority level, flow
//!                                                                  │
//!             [Planner] seats of the level, else a queue of the flow's hand, else a refusal
//!                                                                  │
//!             [Gate] a Seat now, or when the planner gives it one; it goes back when dropped
//! ```
//! `shape` is what FlowSchema and PriorityLevelConfiguration say, `builtin` those that a cluster starts with, `classify`
//! finds a request's flow. `planner` decides and is pure: no clock, no lock, no waiting. `gate` is the lock and the
//! waiting around it. Who asks, and how wide a request is, are the API server's to say.
#![forbid(unsafe_code)]

pub mod builtin;
mod classify;
mod dump;
mod gate;
mod limits;
mod planner;
mod queue;
mod shape;

pub use classify::{Asked, Class, Configuration, Target};
pub use gate::{Gate, Passed, Refused, Seat};
pub use limits::Limits;
pub use planner::{Planner, Refusal, Ticket, Verdict};
pub use shape::{FlowSchema, Malformed, PriorityLevel};
