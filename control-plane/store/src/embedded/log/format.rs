//! The bytes of the log: segments, groups, entries; encoding and checking, no files. Little endian throughout.
//!
//! ```text
//!  segment  = head (40 bytes), groups
//!  group    = head (48 bytes), entries           one write and one fsync
//!  entry    = head (36 bytes), key, value
//! ```
//!
//! Every head and every entry has a CRC-32 of its own, so that a value read back alone is checked too. The group's is
//! mixed with its segment's salt, a random number: a value that looks like a group is none.

use crate::contract::{KeyValue, Revision};
use bytes::Bytes;
use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::Arc,
};

/// Bytes of a segment's head.
pub(super) const SEGMENT_HEAD_BYTES: usize = 40;
/// Bytes of a group's head.
pub(super) const GROUP_HEAD_BYTES: usize = 48;
/// Bytes of an entry's head.
const ENTRY_HEAD_BYTES: usize = 36;

const SEGMENT_MAGIC: &[u8; 8] = b"KEELSONL";
const GROUP_MAGIC: &[u8; 4] = b"KGRP";
/// Grows when an older build could not read what a newer one wrote. 1 was of a different engine.
const VERSION: u32 = 2;

/// Seconds since 1970; zero is never.
pub(in crate::embedded) type Deadline = u64;

/// A key's state.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::embedded) struct Record {
    pub(in crate::embedded) kv: KeyValue,
    /// When the key is to be deleted.
    pub(in crate::embedded) deadline: Deadline,
}

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHead {
    pub(super) number: u64,
    pub(super) salt: u64,
}

/// Why a head is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadHead {
    /// Not what was written.
    Damaged,
    /// Whole, but of another format.
    Version(u32),
}

impl SegmentHead {
    pub(super) fn new(number: u64) -> Self {
        // The standard library's hasher has a random key for each process and state.
        let salt = RandomState::new().build_hasher().finish();
        Self { number, salt }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SEGMENT_HEAD_BYTES);
        out.extend_from_slice(SEGMENT_MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.salt.to_le_bytes());
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out.resize(SEGMENT_HEAD_BYTES, 0);
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BadHead> {
        let head = bytes.first_chunk::<SEGMENT_HEAD_BYTES>().ok_or(BadHead::Damaged)?;
        if !head.starts_with(SEGMENT_MAGIC) || crc32fast::hash(&head[..32]) != u32_at(head, 32) {
            return Err(BadHead::Damaged);
        }
        match u32_at(head, 8) {
            VERSION => Ok(Self { number: u64_at(head, 16), salt: u64_at(head, 24) }),
            other => Err(BadHead::Version(other)),
        }
    }
}

/// What a group is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GroupKind {
    /// Transactions.
    Data,
    /// The store was closed here.
    Closed,
    /// The log goes on in the next segment.
    Rotated,
}

/// What a group says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupHead {
    pub(super) kind: GroupKind,
    /// Its place in the log, one more than that of the group before it.
    pub(super) sequence: u64,
    /// The store's newest revision after it.
    pub(super) revision: Revision,
    /// The first segment that is still needed after it.
    pub(super) oldest: u64,
    pub(super) entries: u32,
    pub(super) body_bytes: u32,
    body_crc: u32,
}

impl GroupHead {
    pub(super) fn new(kind: GroupKind, sequence: u64, revision: Revision, oldest: u64) -> Self {
        Self { kind, sequence, revision, oldest, entries: 0, body_bytes: 0, body_crc: 0 }
    }

    /// The whole group. The body is what [`encode_put`] and [`encode_delete`] made.
    pub(super) fn encode(mut self, salt: u64, entries: u32, body: &[u8]) -> Vec<u8> {
        self.entries = entries;
        self.body_bytes = u32::try_from(body.len()).expect("a group is bounded by far less than 4 GiB");
        self.body_crc = crc32fast::hash(body);
        let mut out = Vec::with_capacity(GROUP_HEAD_BYTES + body.len());
        out.extend_from_slice(GROUP_MAGIC);
        out.extend_from_slice(&[self.kind as u8, 0, 0, 0]);
        for number in [self.sequence, self.revision, self.oldest] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for number in [self.entries, self.body_bytes, self.body_crc] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let crc = salted_crc(salt, &out);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(body);
        out
    }

    /// `None`: there is no head here.
    pub(super) fn decode(bytes: &[u8], salt: u64) -> Option<Self> {
        let head = bytes.first_chunk::<GROUP_HEAD_BYTES>()?;
        if !head.starts_with(GROUP_MAGIC) || salted_crc(salt, &head[..44]) != u32_at(head, 44) {
            return None;
        }
        let kinds = [GroupKind::Data, GroupKind::Closed, GroupKind::Rotated];
        Some(Self {
            kind: *kinds.get(usize::from(head[4]))?,
            sequence: u64_at(head, 8),
            revision: u64_at(head, 16),
            oldest: u64_at(head, 24),
            entries: u32_at(head, 32),
            body_bytes: u32_at(head, 36),
            body_crc: u32_at(head, 40),
        })
    }

    /// The group's entries out of what follows its head; `None` where they are not what was written.
    pub(super) fn body<'a>(&self, after_head: &'a [u8]) -> Option<&'a [u8]> {
        let body = after_head.get(..self.body_bytes as usize)?;
        (crc32fast::hash(body) == self.body_crc).then_some(body)
    }

    /// Where the first head of a later group begins.
    pub(super) fn find_later(bytes: &[u8], salt: u64, sequence: u64) -> Option<usize> {
        let later =
            |at: &usize| Self::decode(&bytes[*at..], salt).is_some_and(|head| head.sequence >= sequence);
        let starts =
            bytes.windows(GROUP_MAGIC.len()).enumerate().filter(|(_, window)| *window == GROUP_MAGIC);
        starts.map(|(at, _)| at).find(later)
    }
}

fn salted_crc(salt: u64, bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&salt.to_le_bytes());
    crc.update(bytes);
    crc.finalize()
}

/// An entry as it lies in a body.
pub(super) struct Entry<'a> {
    /// Bytes before it in the body.
    pub(super) offset: usize,
    /// Its head, key and value.
    pub(super) bytes: &'a [u8],
    pub(super) key: &'a str,
    /// `None`: the key was deleted.
    pub(super) put: Option<Put>,
}

/// What an entry's head says of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Put {
    pub(super) deadline: Deadline,
}

/// Appends a key's new state.
pub(super) fn encode_put(out: &mut Vec<u8>, record: &Record) {
    let kv = &record.kv;
    encode(out, 1, &kv.key, [kv.mod_revision, kv.create_revision, record.deadline], &kv.value);
}

/// Appends a key's deletion.
pub(super) fn encode_delete(out: &mut Vec<u8>, key: &str) {
    encode(out, 0, key, [0; 3], &[]);
}

fn encode(out: &mut Vec<u8>, kind: u8, key: &str, numbers: [u64; 3], value: &[u8]) {
    let start = out.len();
    let key_bytes = u16::try_from(key.len()).expect("keys have at most KEY_BYTES_MAX bytes");
    let value_bytes = u32::try_from(value.len()).expect("values have at most TXN_BYTES_MAX bytes");
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&[kind, 0]);
    out.extend_from_slice(&key_bytes.to_le_bytes());
    out.extend_from_slice(&value_bytes.to_le_bytes());
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(value);
    let crc = crc32fast::hash(&out[start + 4..]);
    out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
}

/// The entries of a body that has been checked; ends early where they are not whole, which its count then shows.
pub(super) fn entries(body: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    let mut offset = 0;
    std::iter::from_fn(move || {
        let rest = &body[offset..];
        let bytes = &rest[..entry_bytes(rest)?];
        let entry = Entry { offset, bytes, key: key_of(bytes)?, put: put_of(bytes) };
        offset += bytes.len();
        Some(entry)
    })
}

/// How long the entry is that begins here; `None` where that is more than there is.
fn entry_bytes(rest: &[u8]) -> Option<usize> {
    let head = rest.first_chunk::<ENTRY_HEAD_BYTES>()?;
    let whole =
        ENTRY_HEAD_BYTES + usize::from(u16::from_le_bytes([head[6], head[7]])) + u32_at(head, 8) as usize;
    (whole <= rest.len()).then_some(whole)
}

fn key_of(entry: &[u8]) -> Option<&str> {
    let key_bytes = usize::from(u16::from_le_bytes([entry[6], entry[7]]));
    std::str::from_utf8(&entry[ENTRY_HEAD_BYTES..ENTRY_HEAD_BYTES + key_bytes]).ok()
}

fn put_of(entry: &[u8]) -> Option<Put> {
    (entry[4] == 1).then(|| Put { deadline: u64_at(entry, 28) })
}

/// A value read back alone, under the key that it was looked for; `None` where it is not what was written.
pub(super) fn decode_record(key: Arc<str>, entry: Vec<u8>) -> Option<Record> {
    if entry_bytes(&entry)? != entry.len() || crc32fast::hash(&entry[4..]) != u32_at(&entry, 0) {
        return None;
    }
    if key_of(&entry)? != &*key {
        return None;
    }
    let deadline = put_of(&entry)?.deadline;
    let (mod_revision, create_revision) = (u64_at(&entry, 12), u64_at(&entry, 20));
    let value = Bytes::from(entry).slice(ENTRY_HEAD_BYTES + key.len()..);
    Some(Record { kv: KeyValue { key, value, mod_revision, create_revision }, deadline })
}

/// # Panics
/// Beyond the end; callers have looked.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes are an array of four"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes are an array of eight"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(value: &str) -> Record {
        let kv = KeyValue {
            key: "/a".into(),
            value: Bytes::copy_from_slice(value.as_bytes()),
            mod_revision: 7,
            create_revision: 3,
        };
        Record { kv, deadline: 1_700_000_000 }
    }

    #[test]
    fn a_record_comes_back_as_it_was_and_any_flipped_bit_is_seen() {
        for value in ["", "{}"] {
            let mut entry = Vec::new();
            encode_put(&mut entry, &record(value));
            assert_eq!(decode_record("/a".into(), entry.clone()), Some(record(value)));
            assert_eq!(decode_record("/b".into(), entry.clone()), None);
            for bit in 0..entry.len() * 8 {
                let mut damaged = entry.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(decode_record("/a".into(), damaged), None, "bit {bit}");
            }
        }
    }

    #[test]
    fn any_flipped_bit_of_a_group_is_seen() {
        let mut body = Vec::new();
        encode_put(&mut body, &record("{}"));
        encode_delete(&mut body, "/b");
        let whole = |bytes: &[u8]| {
            let head = GroupHead::decode(bytes, 5)?;
            let body = head.body(&bytes[GROUP_HEAD_BYTES..])?;
            Some(entries(body).map(|entry| (entry.key.to_owned(), entry.put)).collect::<Vec<_>>())
        };
        let group = GroupHead::new(GroupKind::Data, 9, 7, 1).encode(5, 2, &body);
        let put = Put { deadline: 1_700_000_000 };
        assert_eq!(whole(&group), Some(vec![("/a".to_owned(), Some(put)), ("/b".to_owned(), None)]));
        for bit in 0..group.len() * 8 {
            let mut damaged = group.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(whole(&damaged), None, "bit {bit}");
        }
    }

    #[test]
    fn a_group_of_another_segment_is_none() {
        let group = GroupHead::new(GroupKind::Data, 9, 7, 1).encode(5, 0, &[]);
        assert!(GroupHead::decode(&group, 5).is_some() && GroupHead::decode(&group, 6).is_none());
        let buried = [&[0; 7][..], &group].concat();
        let table = [(5, 9, Some(7)), (5, 8, Some(7)), (5, 10, None), (6, 9, None)];
        for (salt, sequence, expected) in table {
            assert_eq!(GroupHead::find_later(&buried, salt, sequence), expected, "{salt} {sequence}");
        }
    }

    #[test]
    fn a_segments_head_names_its_version() {
        let head = SegmentHead::new(3);
        let mut bytes = head.encode();
        assert_eq!(SegmentHead::decode(&bytes), Ok(head));
        assert_eq!(SegmentHead::decode(&bytes[..39]), Err(BadHead::Damaged));
        bytes[8] = 9;
        assert_eq!(SegmentHead::decode(&bytes), Err(BadHead::Damaged));
        let crc = crc32fast::hash(&bytes[..32]);
        bytes[32..36].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHead::decode(&bytes), Err(BadHead::Version(9)));
    }
}
