//! Since when an address is a Service's: what must not be counted as its successor's. Pure.
//!
//! An address that passes from one Service to another begins a new epoch, see `keelson_ebpf_common::metrics`. Whose it was
//! before is known for addresses that were let go in this epoch, from the daemon's own rows also those of earlier daemons.

use std::collections::HashMap;

use crate::plan::FrontendKey;

/// Addresses let go in one epoch that are remembered; when there are more, a new epoch begins and all are forgotten.
const FORMER_MAX: usize = 4_096;

/// 64 bits of a Service's name, the same in every process (FNV-1a, <https://www.rfc-editor.org/rfc/rfc9923>).
pub(crate) fn fingerprint(namespace: &str, name: &str) -> u64 {
    let bytes = namespace.bytes().chain([b'/']).chain(name.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The book of who had an address before.
#[derive(Debug, Default)]
pub(crate) struct Tenure {
    /// Fingerprints of those who let an address go in this epoch, or had it at the end of an earlier daemon.
    former: HashMap<FrontendKey, u64>,
    /// Addresses that changed hands: the first epoch of whoever has them now.
    since: HashMap<FrontendKey, u32>,
    /// Addresses that pass on, with the fingerprints of who had them.
    changed_hands: Vec<(FrontendKey, u64)>,
    overflown: bool,
}

impl Tenure {
    /// Someone has an address, whoever had it a moment ago.
    pub(crate) fn claim(&mut self, frontend: FrontendKey, owner: u64, before: Option<u64>) {
        let before = before.or_else(|| self.former.remove(&frontend));
        self.changed_hands.extend(before.filter(|before| *before != owner).map(|before| (frontend, before)));
    }

    /// Someone let an address go.
    pub(crate) fn release(&mut self, frontend: FrontendKey, owner: u64) {
        if self.former.len() >= FORMER_MAX {
            self.former.clear();
            self.overflown = true;
        }
        self.former.insert(frontend, owner);
    }

    /// An earlier daemon's word on whose an address was in the present epoch.
    pub(crate) fn recall(&mut self, frontend: FrontendKey, owner: u64) {
        self.former.insert(frontend, owner);
    }

    /// Whether a new epoch must begin before the maps follow.
    pub(crate) fn needs_epoch(&self) -> bool {
        self.overflown || !self.changed_hands.is_empty()
    }

    /// Who had the addresses that pass on, in the epoch that ends.
    pub(crate) fn former_owners(&self) -> &[(FrontendKey, u64)] {
        &self.changed_hands
    }

    /// A new epoch has begun.
    pub(crate) fn begin(&mut self, epoch: u32) {
        self.overflown = false;
        self.former.clear();
        // What they were for is written down in the daemon's own rows by now.
        if self.since.len() >= FORMER_MAX {
            self.since.clear();
        }
        self.since.extend(self.changed_hands.drain(..).map(|(frontend, _)| (frontend, epoch)));
    }

    /// Whether what was counted under an epoch is of whoever has the address now; `stamp` is the daemon's own row of it.
    pub(crate) fn is_current(
        &self,
        frontend: &FrontendKey,
        epoch: u32,
        owner: u64,
        stamp: Option<u64>,
    ) -> bool {
        match stamp {
            Some(stamp) => stamp == owner,
            None => self.since.get(frontend).is_none_or(|&since| since <= epoch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Protocol;

    fn address(last: u8) -> FrontendKey {
        FrontendKey { address: [10, 96, 0, last].into(), port: 80, protocol: Protocol::Tcp }
    }

    #[test]
    fn only_an_address_that_changes_hands_begins_an_epoch() {
        let (a, b) = (fingerprint("default", "a"), fingerprint("default", "b"));
        // Who has it before, who lets it go, who has it then: whether an epoch begins.
        let rows = [
            (None, None, a, false),
            (Some(a), None, a, false),
            (Some(a), None, b, true),
            (None, Some(a), a, false),
            (None, Some(a), b, true),
        ];
        for (before, let_go, then, begins) in rows {
            let mut tenure = Tenure::default();
            let_go.into_iter().for_each(|owner| tenure.release(address(7), owner));
            tenure.claim(address(7), then, before);
            assert_eq!(tenure.needs_epoch(), begins, "{before:?} {let_go:?} {then}");
        }
    }

    #[test]
    fn what_was_counted_before_is_not_the_successors() {
        let (a, b) = (fingerprint("default", "a"), fingerprint("default", "b"));
        let mut tenure = Tenure::default();
        tenure.release(address(7), a);
        tenure.claim(address(7), b, None);
        tenure.begin(5);
        assert!(!tenure.is_current(&address(7), 4, b, None));
        assert!(tenure.is_current(&address(7), 5, b, None));
        assert!(tenure.is_current(&address(8), 1, a, None), "an address that never changed hands");
        assert!(!tenure.is_current(&address(8), 1, b, Some(a)), "an earlier daemon wrote whose it was");
    }

    #[test]
    fn too_many_that_were_let_go_begin_an_epoch_and_are_forgotten() {
        let mut tenure = Tenure::default();
        for n in 0..=FORMER_MAX as u32 {
            let key = FrontendKey { address: std::net::Ipv4Addr::from(0x0a60_0000 + n).into(), ..address(0) };
            tenure.release(key, 1);
        }
        assert!(tenure.needs_epoch());
        tenure.begin(1);
        assert!(!tenure.needs_epoch());
    }
}
