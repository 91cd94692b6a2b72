//! Shared copies of strings that recur: label keys and values, node names, phases, the fields of managers.
//!
//! Owned by the one task that fills the caches, hence without a lock. Strings that nobody holds any more are swept out
//! when the set has grown by a quarter, so its size is bounded by what the caches hold.

use std::{collections::HashSet, sync::Arc};

const SWEEP_MIN: usize = 1024;

/// A set of shared strings.
pub(crate) struct Interner {
    strings: HashSet<Arc<str>>,
    sweep_at: usize,
}

impl Default for Interner {
    fn default() -> Self {
        Self { strings: HashSet::new(), sweep_at: SWEEP_MIN }
    }
}

impl Interner {
    /// The shared copy of `text`.
    pub(crate) fn get(&mut self, text: &str) -> Arc<str> {
        if let Some(shared) = self.strings.get(text) {
            return shared.clone();
        }
        if self.strings.len() >= self.sweep_at {
            self.strings.retain(|shared| Arc::strong_count(shared) > 1);
            self.sweep_at = SWEEP_MIN.max(self.strings.len() + self.strings.len() / 4);
        }
        let shared: Arc<str> = text.into();
        self.strings.insert(shared.clone());
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_holds_is_swept() {
        let mut interner = Interner::default();
        let held = interner.get("held");
        for index in 0..10 * SWEEP_MIN {
            interner.get(&index.to_string());
        }
        assert!(interner.strings.len() <= 2 * SWEEP_MIN);
        assert!(Arc::ptr_eq(&held, &interner.get("held")));
    }
}
