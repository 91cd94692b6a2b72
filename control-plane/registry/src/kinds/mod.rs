//! Which kinds are served: a row each, in the order of discovery, and a file of rules each.

pub mod core;

use crate::{kind::Storage, table::Row};

/// A stored kind without field selectors of its own.
macro_rules! row {
    ($group:literal, $version:literal, $plural:literal, $strategy:expr) => {
        row!($group, $version, $plural, $strategy, [], [])
    };
    ($group:literal, $version:literal, $plural:literal, $strategy:expr, [$($sub:literal),*], [$($field:expr),*]) => {
        Row {
            group: $group,
            version: $version,
            plural: $plural,
            strategy: &$strategy,
            storage: Storage::Own,
            subresources: &[$($sub),*],
            fields: &[$($field),*],
        }
    };
}

/// All rows.
pub(crate) fn rows() -> Vec<Row> {
    vec![row!("", "v1", "configmaps", core::config_map::ConfigMap)]
}
