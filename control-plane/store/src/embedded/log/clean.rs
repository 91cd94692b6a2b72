//! Cleaning: what is to be written again of the oldest segment, a little with each group. It reads, the group writes.

use super::{
    Change, Log,
    format::{GROUP_HEAD_BYTES, GroupHead, entries},
    segment::Segment,
};
use std::{collections::HashSet, sync::Arc};

/// Live entries that a group takes along; the last of the old groups looked at may go beyond.
const STEP_BYTES: usize = 256 * 1_024;

/// How far the oldest segment is cleaned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cleaning {
    segment: u64,
    at: u64,
}

/// What a group takes along.
pub(super) struct Cleaned {
    pub(super) entries: Vec<u8>,
    pub(super) count: u32,
    /// The first segment that is needed once the group is durable.
    pub(super) oldest: u64,
    /// Where to go on.
    pub(super) next: Option<Cleaning>,
}

impl Log {
    /// The next step, where there is one to make. Nothing is changed: the group may be refused.
    pub(super) fn clean(&self, changes: &[Change]) -> Option<Cleaned> {
        let (segment, end) = self.segments.front().filter(|_| self.segments.len() > 1)?;
        let live = self.index.live_bytes();
        let dead = self.total_bytes().saturating_sub(live);
        if self.cleaning.is_none() && dead <= live.max(2 * self.segment_bytes_max) {
            return None;
        }
        let changed: HashSet<&str> = changes.iter().map(|change| &*change.key).collect();
        let mut cleaned = Cleaned { entries: Vec::new(), count: 0, oldest: segment.number, next: None };
        let begun = self.cleaning.filter(|cleaning| cleaning.segment == segment.number);
        let mut at = begun.map_or(Segment::START, |cleaning| cleaning.at);
        while at < *end && cleaned.entries.len() < STEP_BYTES {
            match self.clean_group(segment, at, &changed, &mut cleaned) {
                Some(bytes) => at += bytes,
                None => {
                    tracing::error!(
                        segment = segment.number,
                        at,
                        "the log's oldest file cannot be read again and is kept"
                    );
                    return None;
                }
            }
        }
        if at < *end {
            cleaned.next = Some(Cleaning { segment: segment.number, at });
        } else {
            cleaned.oldest = segment.number + 1;
        }
        Some(cleaned)
    }

    /// Takes what is live of one group, and says how long that was.
    fn clean_group(
        &self,
        segment: &Arc<Segment>,
        at: u64,
        changed: &HashSet<&str>,
        cleaned: &mut Cleaned,
    ) -> Option<u64> {
        let head = GroupHead::decode(&segment.read(at, GROUP_HEAD_BYTES).ok()?, segment.salt)?;
        let body_at = at + GROUP_HEAD_BYTES as u64;
        let bytes = segment.read(body_at, head.body_bytes as usize).ok()?;
        for entry in entries(head.body(&bytes)?) {
            let is_live = self.index.is_at(entry.key, segment, body_at + entry.offset as u64);
            if is_live && !changed.contains(entry.key) {
                cleaned.entries.extend_from_slice(entry.bytes);
                cleaned.count += 1;
            }
        }
        Some(GROUP_HEAD_BYTES as u64 + u64::from(head.body_bytes))
    }
}
