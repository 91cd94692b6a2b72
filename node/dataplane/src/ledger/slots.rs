//! Where backends lie: a buddy allocator over an array of slots.
//!
//! A block is a power of two slots at a multiple of its size, so that a span alone tells its block, and the allocator
//! can be made anew from the spans in the kernel. A span may fill its block in part; what it wastes is bounded by half.

use std::collections::BTreeSet;

use keelson_ebpf_common::value::Span;

/// Free blocks by order (the logarithm of their size).
#[derive(Debug)]
pub(super) struct Slots {
    free: Vec<BTreeSet<u32>>,
}

impl Slots {
    /// `capacity` is a power of two.
    pub(super) fn new(capacity: u32) -> Self {
        let mut free = vec![BTreeSet::new(); capacity.ilog2() as usize + 1];
        if let Some(whole) = free.last_mut() {
            whole.insert(0);
        }
        Self { free }
    }

    pub(super) fn capacity(&self) -> u32 {
        1 << (self.free.len() - 1)
    }

    /// A span of `count` slots that nobody has; the empty span needs none.
    pub(super) fn take(&mut self, count: u32) -> Option<Span> {
        if count == 0 {
            return Some(Span::default());
        }
        let order = order(count);
        let found = (order..self.free.len()).find(|&o| !self.free[o].is_empty())?;
        let first = self.free[found].pop_first()?;
        self.split(first, found, order, first);
        Some(Span { first, count })
    }

    /// Takes a certain span, unless part of it is taken or it is none that [`Self::take`] gives.
    pub(super) fn reserve(&mut self, span: Span) -> bool {
        if span.count == 0 {
            return span.first == 0;
        }
        let order = order(span.count);
        if order >= self.free.len() || !span.first.is_multiple_of(1 << order) {
            return false;
        }
        let within = |o: usize| span.first & !((1 << o) - 1);
        let Some(found) = (order..self.free.len()).find(|&o| self.free[o].contains(&within(o))) else {
            return false;
        };
        self.free[found].remove(&within(found));
        self.split(within(found), found, order, span.first);
        true
    }

    pub(super) fn give(&mut self, span: Span) {
        if span.count == 0 {
            return;
        }
        let (mut first, mut order) = (span.first, order(span.count));
        while order + 1 < self.free.len() && self.free[order].remove(&(first ^ (1 << order))) {
            first &= !(1 << order);
            order += 1;
        }
        self.free[order].insert(first);
    }

    /// Halves a block until the one of order `to` that holds slot `keep` is left; the other halves become free.
    fn split(&mut self, mut block: u32, from: usize, to: usize, keep: u32) {
        for order in (to..from).rev() {
            let (low, high) = (block, block + (1 << order));
            block = if keep >= high { high } else { low };
            self.free[order].insert(low + high - block);
        }
    }
}

fn order(count: u32) -> usize {
    count.next_power_of_two().ilog2() as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn spans_never_overlap_and_all_of_it_comes_back(counts in prop::collection::vec((0_u32..20, any::<bool>()), 1..60)) {
            let mut slots = Slots::new(64);
            let mut held: Vec<Span> = Vec::new();
            for (count, give) in counts {
                if give && !held.is_empty() {
                    slots.give(held.remove(0));
                } else if let Some(span) = slots.take(count) {
                    let end = span.first + span.count;
                    prop_assert!(end <= 64);
                    prop_assert!(held.iter().all(|h| h.count == 0 || count == 0 || h.first + h.count <= span.first || end <= h.first));
                    held.push(span);
                }
            }
            // A second allocator made from the spans alone has the same free blocks.
            let mut again = Slots::new(64);
            for span in &held {
                prop_assert!(again.reserve(*span));
                prop_assert!(span.count == 0 || !again.reserve(*span));
            }
            prop_assert_eq!(&again.free, &slots.free);
            for span in held {
                slots.give(span);
            }
            prop_assert_eq!(slots.take(64), Some(Span { first: 0, count: 64 }));
        }
    }
}
