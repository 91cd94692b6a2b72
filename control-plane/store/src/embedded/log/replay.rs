//! Reading the log at start: what is there becomes the index, what a crash left unfinished is told from what was damaged.
//!
//! A group is written only once the one before it is durable. So after a crash all groups are whole but perhaps the very
//! last, which nobody was told of; it is cut off. Anything else that is not as it was written (a group with another behind
//! it, a segment that is not the last, a file that is missing between others) was damaged later, and is refused by its name
//! and place: it held what somebody was told is safe.
//!
//! What cannot be told: damage to the last group of a store whose process was killed looks like a crash in the middle of
//! writing it. A store that was closed has a group without entries behind its last.

use super::{
    AppendError, Log,
    format::{
        BadHead, Entry, GROUP_HEAD_BYTES, GroupHead, GroupKind, SEGMENT_HEAD_BYTES, SegmentHead, entries,
    },
    index::{Index, Slot},
    segment::{Content, Segment, name, number},
};
use crate::{
    contract::{Revision, StoreError},
    embedded::{deadlines::Deadlines, disk::Disk},
};
use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::Arc,
};

/// What the log came to.
pub(super) struct Replayed {
    pub(super) index: Index,
    pub(super) deadlines: Deadlines,
    pub(super) revision: Revision,
    /// Of the next group.
    pub(super) sequence: u64,
    /// In order, each with its length; at least one, of which the last is appended to.
    pub(super) segments: VecDeque<(Arc<Segment>, u64)>,
}

struct Replay {
    index: Index,
    deadline_of: HashMap<Arc<str>, u64>,
    revision: Revision,
    /// Of the group that is expected next; `None` before the first, whose elders are gone.
    sequence: Option<u64>,
    segments: VecDeque<(Arc<Segment>, u64)>,
}

/// Reads the folder's log; an empty folder gets its first segment.
pub(super) fn replay(disk: &dyn Disk) -> Result<Replayed, StoreError> {
    let mut numbers: Vec<u64> = disk
        .list()
        .map_err(|error| unavailable(disk, error))?
        .iter()
        .filter_map(|name| number(name))
        .collect();
    numbers.sort_unstable();
    drop_unfinished(disk, &mut numbers)?;
    let oldest = oldest_needed(disk, &numbers)?;
    let (unneeded, needed): (Vec<u64>, Vec<u64>) = numbers.into_iter().partition(|number| *number < oldest);
    let mut replay = Replay {
        index: Index::default(),
        deadline_of: HashMap::new(),
        revision: 0,
        sequence: None,
        segments: VecDeque::new(),
    };
    let last = needed.last().copied();
    for (number, wanted) in needed.into_iter().zip(oldest..) {
        if number != wanted {
            return Err(missing(disk, wanted));
        }
        replay.segment(Content::read(disk, number)?, number, Some(number) == last)?;
    }
    replay.finish(disk, &unneeded).map_err(|error| unavailable(disk, error))
}

/// The last file, where a crash came before its head was whole: it is no segment yet.
fn drop_unfinished(disk: &dyn Disk, numbers: &mut Vec<u64>) -> Result<(), StoreError> {
    let Some(last) = numbers.last().copied() else { return Ok(()) };
    let content = Content::read(disk, last)?;
    // Whole, but no group followed and its elder does not name it: the elder goes on.
    let elder_goes_on = content.bytes.len() <= SEGMENT_HEAD_BYTES
        && match numbers.len().checked_sub(2).map(|at| numbers[at]) {
            Some(elder) => !ends_rotated(&Content::read(disk, elder)?)?,
            None => SegmentHead::decode(&content.bytes).is_err(),
        };
    if elder_goes_on {
        disk.remove(&name(last)).map_err(|error| unavailable(disk, error))?;
        numbers.pop();
    }
    Ok(())
}

fn ends_rotated(content: &Content) -> Result<bool, StoreError> {
    Ok(last_group(content)?.is_some_and(|head| head.kind == GroupKind::Rotated))
}

/// Whether the segment ends with the word that the store was closed.
pub(super) fn is_closed(disk: &dyn Disk, number: u64) -> Result<bool, StoreError> {
    let last = last_group(&Content::read(disk, number)?)?;
    Ok(last.is_some_and(|head| head.kind == GroupKind::Closed))
}

/// The last of the groups that follow each other from the beginning; what follows it a crash may have left.
fn last_group(content: &Content) -> Result<Option<GroupHead>, StoreError> {
    let head = segment_head(content)?;
    let (mut at, mut last) = (SEGMENT_HEAD_BYTES, None::<GroupHead>);
    while let Some((group, body)) = whole_group(&content.bytes[at..], head.salt) {
        at += GROUP_HEAD_BYTES + body.len();
        last = Some(group);
    }
    let after = last.map_or(0, |group| group.sequence + 1);
    match damage(&content.bytes, at, head.salt, after) {
        Some(why) => Err(content.corrupt(at, &why)),
        None => Ok(last),
    }
}

/// Whether what is no group here was one: then another follows, which would not have been begun before this was durable.
fn damage(bytes: &[u8], at: usize, salt: u64, sequence: u64) -> Option<String> {
    let later = at + 1 + GroupHead::find_later(bytes.get(at + 1..)?, salt, sequence + 1)?;
    Some(format!("a group of transactions is damaged, the next one begins at byte {later}"))
}

fn segment_head(content: &Content) -> Result<SegmentHead, StoreError> {
    SegmentHead::decode(&content.bytes).map_err(|bad| match bad {
        BadHead::Damaged => content.corrupt(0, "the file's head is damaged"),
        BadHead::Version(other) => {
            content.corrupt(0, &format!("it is written in format {other}, which this build cannot read"))
        }
    })
}

/// The number of the first segment that counts. The newest group knows; older segments may be there still, or again.
fn oldest_needed(disk: &dyn Disk, numbers: &[u64]) -> Result<u64, StoreError> {
    for number in numbers.iter().rev() {
        if let Some(head) = last_group(&Content::read(disk, *number)?)? {
            return match head.kind {
                GroupKind::Rotated if !numbers.contains(&(number + 1)) => Err(missing(disk, number + 1)),
                _ => Ok(head.oldest),
            };
        }
    }
    Ok(numbers.first().copied().unwrap_or(1))
}

fn whole_group(bytes: &[u8], salt: u64) -> Option<(GroupHead, &[u8])> {
    let head = GroupHead::decode(bytes, salt)?;
    let body = head.body(&bytes[GROUP_HEAD_BYTES..])?;
    Some((head, body))
}

impl Replay {
    fn segment(&mut self, content: Content, number: u64, is_last: bool) -> Result<(), StoreError> {
        let head = segment_head(&content)?;
        if head.number != number {
            return Err(content.corrupt(0, &format!("this is segment {} under another's name", head.number)));
        }
        let (segment, bytes) = content.into_segment(head);
        let segment = Arc::new(segment);
        let corrupt = |at: usize, why: &str| segment.corrupt(at as u64, why);
        let (mut at, mut is_rotated) = (SEGMENT_HEAD_BYTES, false);
        while at < bytes.len() {
            if is_rotated {
                return Err(corrupt(at, "something follows the segment's end"));
            }
            let Some((group, body)) = whole_group(&bytes[at..], head.salt) else {
                if !is_last {
                    return Err(corrupt(at, "a group of transactions is damaged"));
                }
                if let Some(why) = damage(&bytes, at, head.salt, self.sequence.unwrap_or(0)) {
                    return Err(corrupt(at, &why));
                }
                // Mere zeros are room for groups that did not come.
                if bytes[at..].iter().any(|byte| *byte != 0) {
                    tracing::info!(segment = number, at, "cutting off what a crash left unfinished");
                }
                break;
            };
            if self.sequence.is_some_and(|expected| group.sequence != expected) {
                return Err(corrupt(at, "a group of transactions is missing before this one"));
            }
            self.group(&group, body, &segment, at).map_err(|why| corrupt(at, &why))?;
            is_rotated = group.kind == GroupKind::Rotated;
            at += GROUP_HEAD_BYTES + body.len();
        }
        if !is_rotated && !is_last {
            return Err(corrupt(at, "the segment's end is missing"));
        }
        self.segments.push_back((segment, at as u64));
        Ok(())
    }

    fn group(
        &mut self,
        head: &GroupHead,
        body: &[u8],
        segment: &Arc<Segment>,
        at: usize,
    ) -> Result<(), String> {
        let mut count = 0;
        for entry in entries(body) {
            self.entry(&entry, segment, (at + GROUP_HEAD_BYTES + entry.offset) as u64);
            count += 1;
        }
        if count != head.entries {
            return Err(format!("a group of {} entries has {count}", head.entries));
        }
        self.sequence = Some(head.sequence + 1);
        self.revision = head.revision;
        Ok(())
    }

    fn entry(&mut self, entry: &Entry<'_>, segment: &Arc<Segment>, offset: u64) {
        let key: Arc<str> = entry.key.into();
        match entry.put {
            Some(put) if put.deadline != 0 => drop(self.deadline_of.insert(key.clone(), put.deadline)),
            _ => drop(self.deadline_of.remove(&key)),
        }
        let bytes = u32::try_from(entry.bytes.len()).unwrap_or(u32::MAX);
        let slot = entry.put.map(|_| Slot { segment: segment.clone(), offset, bytes });
        self.index.set(key, slot);
    }

    /// What is shown from now on is durable, also what the last process wrote and did not come to sync.
    fn finish(mut self, disk: &dyn Disk, unneeded: &[u64]) -> io::Result<Replayed> {
        match self.segments.back() {
            Some((active, end)) => {
                active.cut(*end)?;
                // The one before it too: a killed process may have left its end unsynced, which the first group after it
                // relies on.
                for (segment, _) in self.segments.iter().rev().take(2) {
                    segment.sync()?;
                }
                disk.sync()?;
            }
            None => self.segments.push_back((Arc::new(first(disk)?), Segment::START)),
        }
        // Only now: the group that says so was perhaps not durable before.
        for number in unneeded {
            disk.remove(&name(*number))?;
        }
        let mut deadlines = Deadlines::default();
        for (key, deadline) in self.deadline_of {
            deadlines.change(&key, 0, deadline);
        }
        Ok(Replayed {
            index: self.index,
            deadlines,
            revision: self.revision,
            sequence: self.sequence.unwrap_or(1),
            segments: self.segments,
        })
    }
}

impl Log {
    /// Opens the log in a folder that nobody else has.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] with file and place, where anything is not as it was written.
    pub(in crate::embedded) fn open(
        disk: Arc<dyn Disk>,
        segment_bytes_max: u64,
    ) -> Result<(Self, Deadlines), StoreError> {
        let Replayed { index, deadlines, revision, sequence, segments } = replay(&*disk)?;
        let room_end = segments.back().map_or(0, |(_, end)| *end);
        let log =
            Self { disk, segment_bytes_max, index, revision, sequence, segments, room_end, cleaning: None };
        Ok((log, deadlines))
    }
}

fn first(disk: &dyn Disk) -> io::Result<Segment> {
    match Segment::create(disk, 1) {
        Ok(segment) => Ok(segment),
        Err(AppendError::Full(error) | AppendError::Broken(error)) => Err(error),
    }
}

fn missing(disk: &dyn Disk, number: u64) -> StoreError {
    let path = disk.path_of(&name(number));
    StoreError::Corrupt(format!("{} is missing: restore the folder as a whole", path.display()))
}

fn unavailable(disk: &dyn Disk, error: io::Error) -> StoreError {
    let text = format!("{}: {error}", disk.path().display());
    StoreError::unavailable("opening the log", io::Error::new(error.kind(), text))
}
