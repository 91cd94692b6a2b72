//! What a transaction may be: the maxima that every backend enforces alike, before it does anything. The rules of
//! single kinds are not known here.

use crate::contract::{Compare, Revision, StoreError, Txn, Write};
use std::{collections::HashSet, sync::Arc};

/// A key's length. The longest that the API can name (group, plural, namespace and name at their own maxima) has 650.
pub const KEY_BYTES_MAX: usize = 1_024;

/// Keys and values of one transaction together: etcd's default `--max-request-bytes` of 1.5 MiB less 36 KiB for the
/// request's own encoding.
pub const TXN_BYTES_MAX: usize = 1_500 * 1_024;

/// What encryption at rest may add to a value, beyond [`TXN_BYTES_MAX`]: prefix, name of the key, nonce, tag or padding.
/// With [`TXN_OPERATIONS_MAX`] writes it is 16 KiB, which etcd's limit has room for.
pub(crate) const SEAL_BYTES_MAX: usize = 128;

/// What every sealed value begins with, as upstream's do; no plain one does: those are JSON.
pub(crate) const SEALED: &[u8] = b"k8s:enc:";

/// Compares, and also writes, of one transaction: etcd's default `--max-txn-ops`.
pub const TXN_OPERATIONS_MAX: usize = 128;

impl Compare {
    /// The key that is compared.
    pub fn key(&self) -> &Arc<str> {
        match self {
            Self::Absent(key) | Self::ModRevision(key, _) => key,
        }
    }

    /// Whether a key last written at `mod_revision` (`None`: absent) satisfies this.
    pub(crate) fn holds(&self, mod_revision: Option<Revision>) -> bool {
        match self {
            Self::Absent(_) => mod_revision.is_none(),
            Self::ModRevision(_, wanted) => mod_revision == Some(*wanted),
        }
    }
}

impl Write {
    /// The key that is written.
    pub fn key(&self) -> &Arc<str> {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

impl Txn {
    /// Refuses what breaks the contract, with [`StoreError::Invalid`].
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        self.problem().map_or(Ok(()), |problem| Err(StoreError::Invalid(problem)))
    }

    fn problem(&self) -> Option<String> {
        if self.writes.is_empty() {
            return Some("it writes nothing".to_owned());
        }
        for (what, count) in [("compares", self.compares.len()), ("writes", self.writes.len())] {
            if count > TXN_OPERATIONS_MAX {
                return Some(format!("it has {count} {what}, at most {TXN_OPERATIONS_MAX} are taken"));
            }
        }
        let bytes = self.bytes();
        if bytes > TXN_BYTES_MAX {
            return Some(format!(
                "its keys and values have {bytes} bytes, at most {TXN_BYTES_MAX} are taken"
            ));
        }
        let keys = self.compares.iter().map(Compare::key).chain(self.writes.iter().map(Write::key));
        if let Some(problem) = keys.into_iter().find_map(|key| key_problem(key)) {
            return Some(problem);
        }
        let zero = self.compares.iter().find(|compare| matches!(compare, Compare::ModRevision(_, 0)));
        if let Some(compare) = zero {
            return Some(format!(
                "it compares {:?} with revision 0, which no key has; compare with absence",
                compare.key()
            ));
        }
        let mut seen = HashSet::with_capacity(self.writes.len());
        let twice = self.writes.iter().map(Write::key).find(|key| !seen.insert(*key));
        twice.map(|key| format!("it writes {key:?} twice"))
    }

    /// Keys and values together, less what sealing may have added.
    pub(crate) fn bytes(&self) -> usize {
        let value_bytes = |value: &[u8]| match value.starts_with(SEALED) {
            true => value.len().saturating_sub(SEAL_BYTES_MAX),
            false => value.len(),
        };
        let writes = self.writes.iter().map(|write| match write {
            Write::Put { key, value, .. } => key.len() + value_bytes(value),
            Write::Delete { key } => key.len(),
        });
        let compares = self.compares.iter().map(|compare| compare.key().len());
        writes.chain(compares).sum()
    }
}

fn key_problem(key: &str) -> Option<String> {
    if key.is_empty() {
        return Some("a key is empty".to_owned());
    }
    (key.len() > KEY_BYTES_MAX)
        .then(|| format!("a key has {} bytes, at most {KEY_BYTES_MAX} are taken: {key:?}", key.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn put(key: &str, bytes: usize) -> Write {
        Write::Put { key: key.into(), value: Bytes::from(vec![b'x'; bytes]), ttl: None }
    }

    #[test]
    fn what_breaks_the_contract_is_named() {
        let long = "k".repeat(KEY_BYTES_MAX + 1);
        let many = (0..=TXN_OPERATIONS_MAX).map(|n| put(&format!("k{n}"), 1)).collect::<Vec<_>>();
        let table = [
            (vec![], vec![], "it writes nothing"),
            (vec![], vec![put("a", 1), Write::Delete { key: "a".into() }], "it writes \"a\" twice"),
            (vec![], vec![put("", 1)], "a key is empty"),
            (vec![], vec![put(&long, 1)], "a key has 1025 bytes"),
            (vec![], vec![put("a", TXN_BYTES_MAX)], "its keys and values have 1536001 bytes"),
            (vec![], many, "it has 129 writes"),
            (vec![Compare::ModRevision("a".into(), 0)], vec![put("a", 1)], "with revision 0"),
        ];
        for (compares, writes, expected) in table {
            let refused = Txn { compares, writes }.check();
            let Err(StoreError::Invalid(text)) = &refused else { panic!("{expected}: {refused:?}") };
            assert!(text.contains(expected), "{text:?} should contain {expected:?}");
        }
    }

    #[test]
    fn the_largest_transaction_is_taken() {
        let txn = Txn { compares: vec![], writes: vec![put("a", TXN_BYTES_MAX - 1)] };
        assert!(txn.check().is_ok());
    }
}
