//! The last changes to one resource, oldest first: what watches resume from and lists at a past revision are made from.
//!
//! Bounded by count and by the bytes of previous bodies that only the ring keeps alive. The design keeps the map's root
//! with each change; undoing changes from the present root costs a microsecond each and saves the roots' memory.

use crate::entry::Entry;
use imbl::Vector;
use keelson_store::Revision;
use std::sync::Arc;

/// At most this many changes are kept for a resource.
pub(crate) const RING_CHANGES_MAX: usize = 16_384;
/// At most this many bytes of previous bodies are kept for a resource, while more than [`RING_CHANGES_MIN`] changes are.
pub(crate) const RING_BYTES_MAX: usize = 8 << 20;
/// This many changes are kept whatever their size.
pub(crate) const RING_CHANGES_MIN: usize = 128;

/// One object's change.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) revision: Revision,
    pub(crate) key: Arc<str>,
    pub(crate) previous: Option<Arc<Entry>>,
    pub(crate) current: Option<Arc<Entry>>,
}

impl Change {
    fn bytes(&self) -> usize {
        self.previous.as_ref().map_or(0, |entry| entry.own_len())
    }
}

/// Persistent, so that readers keep theirs while the feed goes on.
#[derive(Clone)]
pub(crate) struct Ring {
    changes: Vector<Arc<Change>>,
    bytes: usize,
    /// Every change after this revision is here.
    start: Revision,
}

impl Ring {
    pub(crate) fn starting_at(revision: Revision) -> Self {
        Self { changes: Vector::new(), bytes: 0, start: revision }
    }

    /// The oldest revision that a watch can resume from.
    pub(crate) fn start(&self) -> Revision {
        self.start
    }

    pub(crate) fn len(&self) -> usize {
        self.changes.len()
    }

    pub(crate) fn get(&self, index: usize) -> &Arc<Change> {
        &self.changes[index]
    }

    pub(crate) fn push(&mut self, change: Change) {
        self.bytes += change.bytes();
        self.changes.push_back(Arc::new(change));
        while self.changes.len() > RING_CHANGES_MAX
            || (self.bytes > RING_BYTES_MAX && self.changes.len() > RING_CHANGES_MIN)
        {
            let Some(oldest) = self.changes.pop_front() else { break };
            self.bytes -= oldest.bytes();
            self.start = oldest.revision;
        }
    }

    /// Index of the first change after `revision` (may be the length), or None when such changes are gone.
    pub(crate) fn after(&self, revision: Revision) -> Option<usize> {
        if revision < self.start {
            return None;
        }
        let (mut low, mut high) = (0, self.changes.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.changes[middle].revision <= revision { low = middle + 1 } else { high = middle }
        }
        Some(low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(revision: Revision) -> Change {
        Change { revision, key: "k".into(), previous: None, current: None }
    }

    #[test]
    fn finds_the_first_change_after_a_revision() {
        let mut ring = Ring::starting_at(5);
        for revision in [7, 9, 12] {
            ring.push(change(revision));
        }
        let rows = [
            (4, None),
            (5, Some(0)),
            (6, Some(0)),
            (7, Some(1)),
            (11, Some(2)),
            (12, Some(3)),
            (99, Some(3)),
        ];
        for (revision, index) in rows {
            assert_eq!(ring.after(revision), index, "after {revision}");
        }
    }

    #[test]
    fn what_was_dropped_is_known_to_be_gone() {
        let mut ring = Ring::starting_at(0);
        for revision in 1..=RING_CHANGES_MAX as u64 + 10 {
            ring.push(change(revision));
        }
        assert_eq!(ring.len(), RING_CHANGES_MAX);
        assert_eq!(ring.start(), 10);
        assert_eq!(ring.after(9), None);
        assert_eq!(ring.after(10), Some(0));
    }
}
