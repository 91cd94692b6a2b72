//! A log of one segment that was closed: what a snapshot is. Written without a disk, read from a file that is not changed.

use super::{
    Log,
    format::{GroupHead, GroupKind, Record, SegmentHead, encode_put},
    index::Index,
    replay::is_closed,
};
use crate::{
    contract::{Revision, StoreError},
    embedded::disk::Disk,
};
use std::sync::Arc;

/// Entries are put into groups of about this size.
const GROUP_BYTES: usize = 1_024 * 1_024;

/// Makes the bytes of such a log, a piece at a time.
pub(in crate::embedded) struct Encoder {
    head: SegmentHead,
    revision: Revision,
    sequence: u64,
    body: Vec<u8>,
    count: u32,
}

impl Encoder {
    /// And the first piece.
    pub(in crate::embedded) fn new(revision: Revision) -> (Self, Vec<u8>) {
        let head = SegmentHead::new(1);
        (Self { head, revision, sequence: 1, body: Vec::new(), count: 0 }, head.encode())
    }

    /// Takes a key; sometimes that makes a piece.
    pub(in crate::embedded) fn push(&mut self, record: &Record) -> Option<Vec<u8>> {
        encode_put(&mut self.body, record);
        self.count += 1;
        (self.body.len() >= GROUP_BYTES).then(|| self.group(GroupKind::Data))
    }

    /// The last piece.
    pub(in crate::embedded) fn finish(mut self) -> Vec<u8> {
        let mut last = self.group(GroupKind::Data);
        last.extend(self.group(GroupKind::Closed));
        last
    }

    fn group(&mut self, kind: GroupKind) -> Vec<u8> {
        let head = GroupHead::new(kind, self.sequence, self.revision, self.head.number);
        self.sequence += 1;
        head.encode(self.head.salt, std::mem::take(&mut self.count), &std::mem::take(&mut self.body))
    }
}

/// Reads and checks all of it.
pub(in crate::embedded) fn read(disk: Arc<dyn Disk>) -> Result<(Index, Revision), StoreError> {
    if !is_closed(&*disk, 1)? {
        let path = disk.path().display();
        return Err(StoreError::Corrupt(format!("{path} is no whole snapshot: its end is missing")));
    }
    let (log, _) = Log::open(disk, u64::MAX)?;
    Ok((log.snapshot(), log.revision()))
}
