//! Items of a list that say again what an earlier one said.

use super::Notes;
use crate::meta;
use serde_json::Value;
use std::collections::HashSet;

/// Lists up to this length are compared in place, which for so few is faster than a set and allocates nothing.
const FEW: usize = 16;

/// Calls with the index and the text of every item whose text under `key` an earlier one has, until `notes` are full.
pub(super) fn of<'a>(
    list: &'a [Value],
    key: &str,
    notes: &mut Notes,
    mut again: impl FnMut(&mut Notes, usize, &'a str),
) {
    let text = |item: &'a Value| meta::text(item, &[key]);
    let mut seen = HashSet::new();
    for (index, item) in list.iter().enumerate() {
        let own = text(item);
        let known = match list.len() <= FEW {
            true => list[..index].iter().any(|earlier| text(earlier) == own),
            false => !seen.insert(own),
        };
        if known {
            again(notes, index, own);
        }
        if notes.is_full() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn short_and_long_lists_are_told_alike() {
        for length in [FEW, 10 * FEW] {
            let list: Vec<Value> =
                (0..length).map(|index| json!({"k": (index % (length - 2)).to_string()})).collect();
            let mut found = Vec::new();
            of(&list, "k", &mut Notes::default(), |_, index, text| found.push((index, text.to_owned())));
            assert_eq!(found, [(length - 2, "0".to_owned()), (length - 1, "1".to_owned())], "{length}");
        }
    }
}
