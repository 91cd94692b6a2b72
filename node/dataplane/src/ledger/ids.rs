//! Indices of IPv6 records: the smallest free one first, so that the shared memory in use stays small.

use std::collections::BTreeSet;

/// Free numbers below a capacity.
#[derive(Debug)]
pub(super) struct Ids {
    capacity: u32,
    /// Every number from here on is free.
    next: u32,
    /// Free numbers below `next`.
    free: BTreeSet<u32>,
}

impl Ids {
    pub(super) fn new(capacity: u32) -> Self {
        Self { capacity, next: 0, free: BTreeSet::new() }
    }

    pub(super) fn take(&mut self) -> Option<u32> {
        if let Some(id) = self.free.pop_first() {
            return Some(id);
        }
        let id = (self.next < self.capacity).then_some(self.next)?;
        self.next += 1;
        Some(id)
    }

    pub(super) fn give(&mut self, id: u32) {
        self.free.insert(id);
    }

    /// Takes a certain number, unless it is taken or none of ours.
    pub(super) fn reserve(&mut self, id: u32) -> bool {
        if id >= self.capacity {
            return false;
        }
        if id < self.next {
            return self.free.remove(&id);
        }
        self.free.extend(self.next..id);
        self.next = id + 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_used_once_from_the_smallest_until_none_is_left() {
        let mut ids = Ids::new(4);
        assert!(ids.reserve(2) && !ids.reserve(2) && !ids.reserve(4));
        assert_eq!([ids.take(), ids.take(), ids.take(), ids.take()], [Some(0), Some(1), Some(3), None]);
        ids.give(2);
        assert_eq!(ids.take(), Some(2));
    }
}
