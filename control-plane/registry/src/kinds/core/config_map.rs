//! ConfigMap.

use crate::strategy::Strategy;

/// ConfigMap.
pub struct ConfigMap;

impl Strategy for ConfigMap {}
