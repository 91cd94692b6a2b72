//! The kinds: their table, strategies, generic object store and watch cache.
//!
//! ```text
//! apiserver ──> ops (get, list, watch, create, update, patch, delete) ──> store
//!                │ kind table, strategy, validate, admission                │
//!                └────────────── cache <── feed <──────── watch ────────────┘
//! ```
//! - Reads come from the cache alone and copy bytes; only write paths and printers parse.
//! - A write answers when the cache shows it.
//! - No kind's rules are in `ops`; nothing generic is in `kinds`. HTTP is the API server's.
#![forbid(unsafe_code)]

pub mod admit;
pub mod alloc;
mod body;
mod cache;
pub mod context;
mod convert;
pub mod custom;
mod derived;
pub mod entry;
mod intern;
pub mod kind;
pub mod kinds;
mod managed;
pub mod meta;
pub mod ops;
pub mod options;
pub mod printers;
pub mod repair;
mod scan;
mod shape;
pub mod status;
pub mod strategy;
pub mod table;
pub mod validate;
mod views;
pub mod warn;

pub use admit::{Admission, Attributes, Operation, Options};
pub use cache::watcher::WatchEvent;
pub use context::{Annotations, Context, MayCreate, RegistryConfig, Warnings};
pub use convert::ConversionWebhooks;
pub use entry::{Entry, Head};
pub use keelson_schema::FieldValidation;
pub use kind::Kind;
pub use ops::{Deleted, DeletedCollection, ListResult, Registry, Stored, StoredBody};
pub use options::{DeleteOptions, ListOptions, PatchType, Preconditions, Propagation, WatchOptions};
pub use shape::{admitted, merged, patched};
pub use status::{Reason, Status};
pub use table::KindTable;
