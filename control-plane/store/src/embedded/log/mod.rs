//! The log that the embedded store is: every group of transactions appended to a file, synced once, and found again by an
//! index in memory. No transactions, no history.
//!
//! The cache above holds every object, and reads them all at start; so nothing is to be found quickly on disk, and a log is
//! all that has to last. It is read whole at every start, which checks all of it.
//!
//! # Space
//! Segments are files of a bounded size. Once dead bytes outweigh live ones, the oldest segment is cleaned: with each
//! group a few of its live entries are written again, at the end; when it has none left, the next group says that it is
//! not needed, and it is removed. Only ever the oldest, so that a deletion in it has nothing older to hide.
//!
//! The last file has room behind its groups, written with zeros: where a group overwrites them, the file system has no
//! length and no blocks to note, and making it durable is one flush instead of two.
//!
//! # Failure
//! An append that finds the disk full is cut off again and refused. Any other failed write, and every failed sync, is the
//! end: see [`AppendError::Broken`].

mod clean;
mod format;
mod index;
mod replay;
mod room;
mod segment;
mod whole;

pub(super) use format::{Deadline, Record};
pub(super) use index::Index;
pub(super) use whole::{Encoder, read as read_whole};

use super::disk::Disk;
use crate::contract::Revision;
use clean::Cleaning;
use format::{GROUP_HEAD_BYTES, GroupHead, GroupKind, encode_delete, encode_put, entries};
use index::Slot;
use segment::{Segment, name};
use std::{collections::VecDeque, io, sync::Arc};

/// The log, open.
pub(super) struct Log {
    disk: Arc<dyn Disk>,
    /// A segment that has grown to this is followed by the next.
    segment_bytes_max: u64,
    index: Index,
    revision: Revision,
    /// Of the next group.
    sequence: u64,
    /// Oldest first, each with its length; the last is appended to.
    segments: VecDeque<(Arc<Segment>, u64)>,
    /// Where the last one's file ends: behind its length are zeros.
    room_end: u64,
    cleaning: Option<Cleaning>,
}

/// One key's part of a group.
pub(super) struct Change {
    pub(super) key: Arc<str>,
    /// The new state, or deleted.
    pub(super) record: Option<Record>,
}

/// Why a group is not in the log.
#[derive(Debug)]
pub(super) enum AppendError {
    /// The disk is full. Nothing of the group is there; reads and later appends may go on.
    Full(io::Error),
    /// Nobody knows what is on disk.
    Broken(io::Error),
}

impl AppendError {
    /// Of a write; a sync that fails is always [`AppendError::Broken`].
    fn of_write(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(error),
            _ => Self::Broken(error),
        }
    }
}

impl Log {
    /// The newest revision.
    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    /// What is in it now; later groups do not change it.
    pub(super) fn snapshot(&self) -> Index {
        self.index.clone()
    }

    /// Where its files are.
    pub(super) fn path(&self) -> &std::path::Path {
        self.disk.path()
    }

    /// Writes all changes or none, and returns once they are durable.
    pub(super) fn write(&mut self, changes: &[Change], revision: Revision) -> Result<(), AppendError> {
        let cleaned = self.clean(changes);
        let mut body = Vec::new();
        let mut count = 0;
        if let Some(cleaned) = &cleaned {
            body.extend_from_slice(&cleaned.entries);
            count += cleaned.count;
        }
        for change in changes {
            match &change.record {
                Some(record) => encode_put(&mut body, record),
                None => encode_delete(&mut body, &change.key),
            }
            count += 1;
        }
        let oldest = cleaned.as_ref().map_or(self.oldest(), |cleaned| cleaned.oldest);
        self.append(GroupHead::new(GroupKind::Data, self.sequence, revision, oldest), count, &body)?;
        if let Some(cleaned) = cleaned {
            self.cleaning = cleaned.next;
            self.drop_before(oldest);
        }
        if self.active().1 >= self.segment_bytes_max {
            self.rotate()?;
        }
        Ok(())
    }

    /// Ends the log so that damage to any of it can be told from a crash. Where that fails, a crash is what it looks like.
    pub(super) fn close(mut self) {
        let head = GroupHead::new(GroupKind::Closed, self.sequence, self.revision, self.oldest());
        let closed = self.give_room_back().and_then(|()| self.append(head, 0, &[]));
        if let Err(AppendError::Full(error) | AppendError::Broken(error)) = closed {
            tracing::warn!(%error, "the log cannot be closed; the next start takes it for one after a crash");
        }
    }

    fn active(&self) -> &(Arc<Segment>, u64) {
        self.segments.back().expect("there is always a segment to append to")
    }

    fn oldest(&self) -> u64 {
        self.segments.front().map_or(1, |(segment, _)| segment.number)
    }

    /// Files, in bytes.
    fn total_bytes(&self) -> u64 {
        self.segments.iter().map(|(_, bytes)| bytes).sum()
    }

    fn append(&mut self, head: GroupHead, count: u32, body: &[u8]) -> Result<(), AppendError> {
        let (segment, at) = self.active().clone();
        let group = head.encode(segment.salt, count, body);
        let len = group.len() as u64;
        self.put(&segment, group, at, head.kind)?;
        if let Some((_, bytes)) = self.segments.back_mut() {
            *bytes += len;
        }
        self.sequence = head.sequence + 1;
        self.revision = head.revision;
        let body_at = at + GROUP_HEAD_BYTES as u64;
        for entry in entries(body) {
            let bytes = u32::try_from(entry.bytes.len()).unwrap_or(u32::MAX);
            let place = Slot { segment: segment.clone(), offset: body_at + entry.offset as u64, bytes };
            self.index.set(entry.key.into(), entry.put.map(|_| place));
        }
        Ok(())
    }

    /// Goes on in the next segment. Its file is durable before the last one says that the log goes on there. Where the
    /// disk is full, the last one grows on.
    fn rotate(&mut self) -> Result<(), AppendError> {
        let number = self.active().0.number + 1;
        let full = |error: io::Error| tracing::warn!(%error, "no room for the log's next file; the last one grows on");
        let next = match Segment::create(&*self.disk, number) {
            Ok(next) => next,
            Err(AppendError::Full(error)) => {
                full(error);
                return Ok(());
            }
            Err(broken) => return Err(broken),
        };
        let head = GroupHead::new(GroupKind::Rotated, self.sequence, self.revision, self.oldest());
        match self.append(head, 0, &[]) {
            Ok(()) => {
                self.segments.push_back((Arc::new(next), Segment::START));
                self.room_end = Segment::START;
            }
            Err(AppendError::Full(error)) => {
                self.disk.remove(&name(number)).map_err(AppendError::Broken)?;
                full(error);
            }
            Err(broken) => return Err(broken),
        }
        Ok(())
    }

    /// Removes the files before this one, which the log has said to be unneeded.
    fn drop_before(&mut self, oldest: u64) {
        while let Some((segment, _)) = self.segments.front().filter(|(segment, _)| segment.number < oldest) {
            if let Err(error) = self.disk.remove(&name(segment.number)) {
                tracing::warn!(%error, segment = segment.number, "a file that is not needed cannot be removed; the next start tries again");
            }
            self.segments.pop_front();
        }
    }
}
