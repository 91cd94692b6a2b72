//! Amounts of resources as whole numbers: exact enough for scheduling, cheap to add and compare.

use keelson_semantics::ResourceList;
use std::{collections::BTreeMap, sync::Arc};

/// Requested or allocatable resources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amounts {
    pub(crate) milli_cpu: i64,
    pub(crate) memory_bytes: i64,
    pub(crate) ephemeral_bytes: i64,
    pub(crate) pods: i64,
    /// Extended resources and huge pages, in their own units.
    pub(crate) others: BTreeMap<Arc<str>, i64>,
}

impl Amounts {
    /// Fractions round up: what is asked for is never made smaller.
    pub(crate) fn new(list: &ResourceList) -> Self {
        let mut amounts = Amounts::default();
        for (name, quantity) in list {
            match name.as_str() {
                "cpu" => amounts.milli_cpu = quantity.milli_value(),
                "memory" => amounts.memory_bytes = quantity.value(),
                "ephemeral-storage" => amounts.ephemeral_bytes = quantity.value(),
                "pods" => amounts.pods = quantity.value(),
                _ => drop(amounts.others.insert(name.as_str().into(), quantity.value())),
            }
        }
        amounts
    }

    pub(crate) fn add(&mut self, other: &Amounts) {
        self.combine(other, 1);
    }

    pub(crate) fn subtract(&mut self, other: &Amounts) {
        self.combine(other, -1);
    }

    fn combine(&mut self, other: &Amounts, sign: i64) {
        self.milli_cpu += sign * other.milli_cpu;
        self.memory_bytes += sign * other.memory_bytes;
        self.ephemeral_bytes += sign * other.ephemeral_bytes;
        self.pods += sign * other.pods;
        for (name, amount) in &other.others {
            *self.others.entry(name.clone()).or_default() += sign * amount;
        }
        self.others.retain(|_, amount| *amount != 0);
    }

    pub(crate) fn other(&self, name: &str) -> i64 {
        self.others.get(name).copied().unwrap_or(0)
    }
}
