//! The order of a merged list: what the patch says, then what the stored list said.
//!
//! Rules: the Kubernetes design proposal "Preserve Order in Strategic Merge Patch". The items that the patch names keep
//! the patch's order among themselves, the others keep theirs, and the two are interleaved as the stored list had them.

use std::collections::HashMap;

use serde_json::Value;

/// What tells items of a merged list apart: the merge key's value, or the scalar itself.
pub(super) fn identity<'v>(item: &'v Value, merge_key: Option<&str>) -> Option<&'v Value> {
    match merge_key {
        Some(key) => item.get(key),
        None => Some(item),
    }
}

/// Where each item first stands in a list.
struct Places<'v> {
    by_identity: HashMap<&'v Value, usize>,
    merge_key: Option<&'v str>,
}

impl<'v> Places<'v> {
    fn of(list: &'v [Value], merge_key: Option<&'v str>) -> Places<'v> {
        let mut by_identity = HashMap::with_capacity(list.len());
        for (place, item) in list.iter().enumerate() {
            if let Some(id) = identity(item, merge_key) {
                by_identity.entry(id).or_insert(place);
            }
        }
        Places { by_identity, merge_key }
    }

    fn find(&self, item: &Value) -> Option<usize> {
        self.by_identity.get(identity(item, self.merge_key)?).copied()
    }
}

/// `merged` in its final order.
pub(super) fn arrange(
    merged: Vec<Value>,
    patch_order: &[Value],
    stored_order: &[Value],
    merge_key: Option<&str>,
) -> Vec<Value> {
    let patch = Places::of(patch_order, merge_key);
    let stored = Places::of(stored_order, merge_key);
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| patch.find(item).is_some());
    named.sort_by_cached_key(|item| patch.find(item));
    // Items that are new to the stored list are all named by the patch.
    others.sort_by_cached_key(|item| stored.find(item));

    let mut result = Vec::with_capacity(named.len() + others.len());
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    loop {
        let other_first = match (others.peek(), named.peek()) {
            (Some(other), Some(name)) => {
                matches!((stored.find(other), stored.find(name)), (Some(other), Some(name)) if other < name)
            }
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => return result,
        };
        result.extend(if other_first { others.next() } else { named.next() });
    }
}
