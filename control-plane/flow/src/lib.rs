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
//! finds a request's flow, `ensure` keeps the built-in objects in the API, `dangling` says of each schema whether its level is
//! there. `planner` decides and is pure: no clock, no lock, no waiting. `gate` is the lock and the
//! waiting around it. Who asks, and how wide a request is, are the API server's to say.
#![forbid(unsafe_code)]

pub mod builtin;
mod classify;
pub mod dangling;
mod dump;
pub mod ensure;
mod gate;
mod limits;
mod metrics;
mod planner;
mod queue;
mod requests;
mod shape;

pub use classify::{Asked, Class, Configuration, Target};
pub use gate::{Gate, Passed, Refused, Seat};
pub use limits::{Limits, QUEUES_MAX};
pub use planner::{Planner, Refusal, Ticket, Verdict};
pub use requests::Details;
pub use shape::{FlowSchema, Malformed, PriorityLevel};
