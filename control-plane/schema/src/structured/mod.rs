//! Structured merge: which fields an object has, which of them a change touches, and what applying a configuration does.
//!
//! ```text
//! FieldsV1 <──> FieldSet <── set_of(object)         leaves, items of lists, entries of maps
//!                   ▲
//!                   ├── compare(old, new)           added, modified, removed
//!                   └── Apply { live, config, owners } merge, take away what nobody wants any more, find conflicts
//! ```
//! Rules: KEP-555, "Server-Side Apply" in the Kubernetes documentation, and the published semantics of
//! structured-merge-diff: maps merge by key, lists by their list type, atomic things are replaced whole and owned whole.
//! The schema says which is which ([`TypeRef`]); where there is none (fields that a schema preserves without knowing
//! them), objects are maps and lists are atomic.
//!
//! Does not know managers' names, times or `metadata.managedFields`: those are the registry's. Deliberately absent: sets
//! are not converted when a field's schema turns from granular to atomic between releases; the built-in ones do not.

mod apply;
mod canonical;
mod check;
mod compare;
mod element;
mod encoding;
mod merge;
mod place;
mod remove;
mod set;

pub use apply::{Applied, Apply, Changes, Conflict, Owner, Versions};
pub use check::{ConfigError, ConfigErrors, check};
pub use compare::{Comparison, compare, created};
pub use element::{Element, FieldPath};
pub use encoding::FieldsError;
pub use place::Place;
pub use set::FieldSet;

use crate::types::TypeRef;
use serde_json::Value;

/// The fields that an object has.
#[must_use]
pub fn set_of(ty: TypeRef<'_>, object: &Value) -> FieldSet {
    place::set_of(Place::of(ty), object).below
}

/// An object with a configuration in it, where nobody keeps who owns what. The configuration has been checked ([`check`]).
#[must_use]
pub fn merged(ty: TypeRef<'_>, live: &Value, config: &Value) -> Value {
    let mut config = config.clone();
    canonical::canonicalise(ty, &mut config);
    merge::merge(Place::of(ty), Some(live), &config)
}

#[cfg(test)]
mod tests;
