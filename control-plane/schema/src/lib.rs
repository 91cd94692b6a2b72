//! What shape alone says of an object: decoding, pruning, defaulting, patching, OpenAPI.
//!
//! Built from the published API definitions at build time. Knows no kind's rules (validation, allocation, who may
//! change what): those are the strategies' in `keelson-registry`.
#![forbid(unsafe_code)]

pub mod field;

pub use field::{Cause, FieldError, Path};
