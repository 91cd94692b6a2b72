//! Numbers for groups and classes: a hash of what they are, the same in every daemon.
//!
//! A user who writes policies must not be able to make two of them meet, hence a cryptographic one, of which 64 bits are
//! kept: with as many groups and classes as the maps hold, two meet by chance once in 10^9 clusters. Whoever keeps them looks
//! nevertheless ([`Numbered`]).

use std::collections::BTreeMap;

use keelson_ebpf_common::policy::Id;
use sha2::{Digest, Sha256};

/// The number of something that is told by a text; the `salt` is 0 unless that number is another's.
fn id(text: &[u8], salt: u32) -> Id {
    let digest = Sha256::new().chain_update(salt.to_ne_bytes()).chain_update(text).finalize();
    let word = |at: usize| u32::from_ne_bytes([digest[at], digest[at + 1], digest[at + 2], digest[at + 3]]);
    Id([word(0), word(4)])
}

/// Things by their numbers.
#[derive(Debug)]
pub(super) struct Numbered<T> {
    by_id: BTreeMap<Id, (Box<[u8]>, T)>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { by_id: BTreeMap::new() }
    }
}

impl<T> Numbered<T> {
    /// The number of what this text tells, and whether it is there already.
    pub(super) fn find(&self, text: &[u8]) -> (Id, bool) {
        let mut salt = 0;
        loop {
            let id = id(text, salt);
            match self.by_id.get(&id) {
                Some((other, _)) if **other != *text => salt += 1,
                _ if id == Id::NONE || id == Id::ANYONE => salt += 1,
                found => return (id, found.is_some()),
            }
        }
    }

    pub(super) fn insert(&mut self, id: Id, text: &[u8], thing: T) {
        self.by_id.insert(id, (text.into(), thing));
    }

    pub(super) fn remove(&mut self, id: Id) -> Option<T> {
        Some(self.by_id.remove(&id)?.1)
    }

    pub(super) fn get(&self, id: Id) -> Option<&T> {
        Some(&self.by_id.get(&id)?.1)
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        Some(&mut self.by_id.get_mut(&id)?.1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Id, &T)> {
        self.by_id.iter().map(|(id, (_, thing))| (*id, thing))
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_the_same_in_every_daemon_and_nobody_elses() {
        let mut groups = Numbered::default();
        let (one, known) = groups.find(b"one");
        assert_eq!((one, known), (Numbered::<u8>::default().find(b"one").0, false));
        // Another thing has that number.
        groups.insert(one, b"two", 2);
        let (salted, known) = groups.find(b"one");
        assert!(salted != one && !known);
        groups.insert(salted, b"one", 1);
        assert_eq!(groups.find(b"one"), (salted, true));
    }
}
