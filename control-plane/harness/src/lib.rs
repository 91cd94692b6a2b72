//! What the components of the control plane stand on, whichever process they run in.
//!
//! ```text
//!  Kubernetes API ── list, watch ──▶ reflector ──▶ Informer<View> ──▶ subscribers ──▶ WorkQueue<Key>
//!        ▲                                             │ read                              │ key
//!        └────────── patch, create, delete ◀── execute ◀── plan(snapshot) ◀── Reconcile ◀──┘
//! ```
//!
//! - A component speaks the Kubernetes API alone, through [`Api`]. Nothing here knows a store or a registry.
//! - There is one watch per kind and process ([`Informers`]); what it keeps are *views*: small structs with the fields
//!   that some component reads, decoded straight from the bytes of the event.
//! - Hints carry no data. A subscriber turns a change into keys; the reconciler looks again, so the path on which the
//!   hint was lost (restart, relist) is the path that always runs.
//! - A reconciler plans purely and executes only what was planned; an error brings the key back later, with backoff.
//!
//! It does not own any rule of any kind: those are in the controllers and the scheduler.
#![forbid(unsafe_code)]

pub mod api;
pub mod controller;
pub mod discovery;
pub mod events;
pub mod informer;
pub mod leader;
pub mod meta;
mod metrics;
pub mod queue;
mod set;
mod timestamp;
pub mod views;

pub use api::{Api, ApiError, Resource};
pub use informer::{Change, IndexKey, Informer};
pub use meta::{Meta, ObjectKey, OwnerReference};
pub use set::Informers;
pub use timestamp::Timestamp;
