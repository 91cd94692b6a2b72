//! The order of a merged list: what the patch says, then what the stored list said.
//!
//! Rules: the Kubernetes design proposal "Preserve Order in Strategic Merge Patch". The items that the patch names keep
//! the patch's order among themselves, the others keep theirs, and the two are interleaved as the stored list had them.

use std::cmp::Ordering;

use serde_json::Value;

/// What tells items of a merged list apart: the merge key's value, or the scalar itself.
pub(super) fn identity<'v>(item: &'v Value, merge_key: Option<&str>) -> Option<&'v Value> {
    match merge_key {
        Some(key) => item.get(key),
        None => Some(item),
    }
}

/// `merged` in its final order.
pub(super) fn arrange(
    merged: Vec<Value>,
    patch_order: &[Value],
    stored_order: &[Value],
    merge_key: Option<&str>,
) -> Vec<Value> {
    let place = |order: &[Value], item: &Value| {
        let id = identity(item, merge_key)?;
        order.iter().position(|other| identity(other, merge_key) == Some(id))
    };
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| place(patch_order, item).is_some());
    let by = |order: &[Value], a: &Value, b: &Value| match (place(order, a), place(order, b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => Ordering::Equal,
    };
    named.sort_by(|a, b| by(patch_order, a, b));
    others.sort_by(|a, b| by(stored_order, a, b));

    let mut result = Vec::with_capacity(named.len() + others.len());
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    loop {
        let other_first = match (others.peek(), named.peek()) {
            (Some(other), Some(name)) => by(stored_order, other, name) == Ordering::Less,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => return result,
        };
        result.extend(if other_first { others.next() } else { named.next() });
    }
}
