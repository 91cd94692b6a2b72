//! Where a watch is with its list.

use std::collections::BTreeSet;

use super::Key;

/// A list as it comes in, and whether one came in to the end.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    complete: bool,
    seen: BTreeSet<Key>,
}

impl Listing {
    pub(crate) fn begin(&mut self) {
        self.seen.clear();
    }

    pub(crate) fn saw(&mut self, key: Key) {
        self.seen.insert(key);
    }

    /// Answers what is known and was not listed.
    pub(crate) fn finish<'a>(&mut self, known: impl Iterator<Item = &'a Key>) -> Vec<Key> {
        self.complete = true;
        let listed = std::mem::take(&mut self.seen);
        known.filter(|key| !listed.contains(*key)).cloned().collect()
    }

    /// Whether a list came in to the end.
    pub(crate) fn complete(&self) -> bool {
        self.complete
    }
}
