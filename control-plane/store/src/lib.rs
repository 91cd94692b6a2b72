//! The revisioned key/value store under the API server: one contract, three backends, one suite.
//!
//! # The contract
//! - A write is a [`Txn`]: N compares and N writes that take effect together, under **one** revision, or not at all.
//!   Revisions grow by exactly one per committed transaction, over all keys, and are never reused.
//! - A compare sees every transaction that was accepted before it, also one that is not yet on disk.
//! - Nothing is visible to a reader, a watcher or the answer of [`Store::commit`] before it is durable (fsync). A failed
//!   fsync ends the process: what a file system says after one cannot be trusted.
//! - A watch delivers every committed transaction as one [`Commit`], in order, without a gap; one that cannot be
//!   (compacted, or the watcher lags more than the backend's named maximum) ends with [`StoreError::Compacted`] or
//!   [`StoreError::Lagged`], never with silence.
//! - One number bounds the past: the oldest revision `o`. Lists at `o` and later and watches after `o` and later are
//!   served, earlier ones are [`StoreError::Compacted`].
//! - A call that is dropped while it waits may still take effect, as if the answer had been lost on a wire.
//! - Absence (`None`) and failure (`Err`) are different answers.
//!
//! The store knows no kinds: keys are text, values are bytes.
#![forbid(unsafe_code)]

mod contract;
pub mod embedded;
pub mod encrypted;
pub mod etcd;
mod history;
mod limits;
pub mod model;
mod moving;
pub mod suite;

pub use contract::{
    Commit, Compare, Event, Export, Exported, KeyValue, Listing, Revision, Store, StoreError, Txn,
    TxnOutcome, WatchStream, Write,
};
pub use history::HistoryLimits;
pub use limits::{KEY_BYTES_MAX, TXN_BYTES_MAX, TXN_OPERATIONS_MAX};
pub use moving::{MoveError, import};
