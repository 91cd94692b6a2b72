//! A value as the engine keeps it: mod revision, create revision and deadline, eight bytes each, big endian, then the
//! value. The engine checksums its blocks and its journal, so there is no checksum here.

use crate::contract::{KeyValue, Revision, StoreError};
use bytes::Bytes;
use std::sync::Arc;

const HEADER_BYTES: usize = 24;

/// Seconds since 1970; zero is never.
pub(super) type Deadline = u64;

/// A key's state.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    pub(super) kv: KeyValue,
    /// When the key is to be deleted.
    pub(super) deadline: Deadline,
}

impl Record {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES + self.kv.value.len());
        for number in [self.kv.mod_revision, self.kv.create_revision, self.deadline] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&self.kv.value);
        out
    }

    pub(super) fn decode(key: Arc<str>, stored: &[u8]) -> Result<Self, StoreError> {
        let too_short = || StoreError::Corrupt(format!("the record of {key:?} has {} bytes", stored.len()));
        let (header, value) = stored.split_at_checked(HEADER_BYTES).ok_or_else(too_short)?;
        let mut numbers = header.chunks_exact(8).filter_map(number);
        let mut next = || numbers.next().ok_or_else(too_short);
        let (mod_revision, create_revision, deadline) = (next()?, next()?, next()?);
        let kv = KeyValue { key, value: Bytes::copy_from_slice(value), mod_revision, create_revision };
        Ok(Self { kv, deadline })
    }
}

/// A key as the engine gives it.
pub(super) fn key(stored: &[u8]) -> Result<Arc<str>, StoreError> {
    let text = std::str::from_utf8(stored);
    text.map(Arc::from).map_err(|_| {
        StoreError::Corrupt(format!("a key is not text: {:?}", stored.escape_ascii().to_string()))
    })
}

/// Eight bytes, big endian.
pub(super) fn number(stored: &[u8]) -> Option<Revision> {
    stored.try_into().ok().map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_was() {
        for value in ["", "{}"] {
            let kv = KeyValue { key: "/a".into(), value: value.into(), mod_revision: 7, create_revision: 3 };
            let record = Record { kv, deadline: 1_700_000_000 };
            assert_eq!(Record::decode("/a".into(), &record.encode()).unwrap(), record);
        }
    }

    #[test]
    fn a_short_record_is_named() {
        let error = Record::decode("/a".into(), &[0; 23]).unwrap_err();
        assert!(error.to_string().contains("\"/a\" has 23 bytes"), "{error}");
    }
}
