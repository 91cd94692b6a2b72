//! The kinds: their table, strategies, generic object store and watch cache.
#![forbid(unsafe_code)]
