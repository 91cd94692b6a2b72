//! The audit log: which requests are recorded, in what detail, and where to.
//!
//! ```text
//! API server ──> Policy::decide (level, stages) ──> Event, a stage ──> Auditor ──> queue ──> log (a thread, a rotated file)
//!                                                                            └──> queue ──> webhook (a task, batches)
//! ```
//! What a request is and when its stages are reached is the API server's to know. Here a request costs the memory of its
//! event: bodies stay as they came over the wire until the thread that writes makes JSON of them.
//!
//! Rules: <https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/>, upstream's `k8s.io/apiserver/pkg/audit`.
#![forbid(unsafe_code)]

mod auditor;
mod batch;
mod body;
mod event;
mod log;
mod metrics;
mod policy;
mod queue;
mod webhook;

pub use auditor::{Auditor, Rejected};
pub use batch::{Batching, Throttle};
pub use body::{Body, Media};
pub use event::{Event, Facts, ObjectReference};
pub use log::{BATCH_EVENTS_MAX, LogConfig, LogError};
pub use policy::{Decision, Level, Policy, PolicyError, Stage, Stages};
pub use queue::{Mode, Truncate};
pub use webhook::WebhookConfig;
