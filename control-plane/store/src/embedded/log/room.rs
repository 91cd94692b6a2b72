//! Room in the last file: zeros behind its groups, which the next ones overwrite. It ends where the segment is full at the
//! latest, so that a file which another follows has none and ends with its last group.

use super::{AppendError, Log, Segment, format::GroupKind};
use std::sync::Arc;

/// A group that finds too little room is written with this part of a segment in zeros behind it: 256 KiB of 8 MiB.
const ROOM_PART: u64 = 32;
/// A group beyond this part of the room gains little by it.
const GROUP_PART: u64 = 4;

impl Log {
    /// Writes a group at the end of the last file, durably, or nothing.
    pub(super) fn put(
        &mut self,
        segment: &Arc<Segment>,
        mut group: Vec<u8>,
        at: u64,
        kind: GroupKind,
    ) -> Result<(), AppendError> {
        let len = group.len();
        let end = at + len as u64;
        let room = self.room_after(end, len as u64, kind);
        group.resize(len + usize::try_from(room).unwrap_or(0), 0);
        let room = match self.put_bytes(segment, &group, at) {
            // Without the zeros it may fit.
            Err(AppendError::Full(_)) if room > 0 => {
                self.put_bytes(segment, &group[..len], at)?;
                0
            }
            other => other.map(|()| room)?,
        };
        segment.sync().map_err(AppendError::Broken)?;
        self.room_end = self.room_end.max(end + room);
        Ok(())
    }

    fn room_after(&self, end: u64, len: u64, kind: GroupKind) -> u64 {
        let room = self.segment_bytes_max / ROOM_PART;
        if end <= self.room_end || len > room / GROUP_PART || kind != GroupKind::Data {
            return 0;
        }
        room.min(self.segment_bytes_max.saturating_sub(end))
    }

    /// Where the disk is full, the file ends where it ended, without its room.
    fn put_bytes(&mut self, segment: &Segment, bytes: &[u8], at: u64) -> Result<(), AppendError> {
        let written = segment.append(bytes, at).map_err(AppendError::of_write);
        if let Err(AppendError::Full(_)) = &written {
            segment.cut(at).map_err(AppendError::Broken)?;
            self.room_end = at;
        }
        written
    }

    /// Cuts the zeros off, durably.
    pub(super) fn give_room_back(&mut self) -> Result<(), AppendError> {
        let (segment, end) = self.active().clone();
        if end < self.room_end {
            segment.cut(end).and_then(|()| segment.sync()).map_err(AppendError::Broken)?;
            self.room_end = end;
        }
        Ok(())
    }
}
