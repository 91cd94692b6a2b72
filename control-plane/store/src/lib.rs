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
//! - Absence (`None`) and failure (`Err`) are different answers.
//!
//! The store knows no kinds: keys are text, values are bytes.
#![forbid(unsafe_code)]

mod contract;
pub mod embedded;
pub mod etcd;
pub mod model;
pub mod suite;

pub use contract::{
    Commit, Compare, Event, KeyValue, Listing, Revision, Store, StoreError, Txn, TxnOutcome, WatchStream, Write,
};
