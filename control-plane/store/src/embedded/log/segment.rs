//! One file of the log. It is only ever appended to, and cut where an append failed.

use super::{
    AppendError,
    format::{SEGMENT_HEAD_BYTES, SegmentHead},
};
use crate::{
    contract::StoreError,
    embedded::disk::{Disk, DiskFile},
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A file of the log.
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) salt: u64,
    /// For messages.
    path: PathBuf,
    file: Arc<dyn DiskFile>,
}

/// `00000001.log`.
pub(super) fn name(number: u64) -> String {
    format!("{number:08}.log")
}

/// The number of a segment's name.
pub(super) fn number(name: &str) -> Option<u64> {
    let number = name.strip_suffix(".log")?.parse().ok()?;
    (self::name(number) == name).then_some(number)
}

/// What is in a segment's file, read as a whole.
pub(super) struct Content {
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) bytes: Vec<u8>,
}

impl Content {
    pub(super) fn read(disk: &dyn Disk, number: u64) -> Result<Self, StoreError> {
        let path = disk.path_of(&name(number));
        let failed = |error: io::Error| {
            let text = format!("{}: {error}", path.display());
            StoreError::unavailable("reading the log", io::Error::new(error.kind(), text))
        };
        let file = disk.open(&name(number)).map_err(failed)?;
        let len = usize::try_from(file.len().map_err(failed)?).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len];
        file.read_at(&mut bytes, 0).map_err(failed)?;
        Ok(Self { path, file, bytes })
    }

    pub(super) fn corrupt(&self, offset: usize, why: &str) -> StoreError {
        corrupt(&self.path, offset as u64, why)
    }

    /// As a segment, to read values from and to append to; and the bytes.
    pub(super) fn into_segment(self, head: SegmentHead) -> (Segment, Vec<u8>) {
        (Segment { number: head.number, salt: head.salt, path: self.path, file: self.file }, self.bytes)
    }
}

impl Segment {
    /// Makes the next file, durable with its name, or leaves none.
    pub(super) fn create(disk: &dyn Disk, number: u64) -> Result<Self, AppendError> {
        let head = SegmentHead::new(number);
        let file = disk.create(&name(number)).map_err(AppendError::of_write)?;
        if let Err(error) = file.write_at(&head.encode(), 0) {
            disk.remove(&name(number)).map_err(AppendError::Broken)?;
            return Err(AppendError::of_write(error));
        }
        file.sync().map_err(AppendError::Broken)?;
        disk.sync().map_err(AppendError::Broken)?;
        Ok(Self { number, salt: head.salt, path: disk.path_of(&name(number)), file })
    }

    /// Where the first group begins.
    pub(super) const START: u64 = SEGMENT_HEAD_BYTES as u64;

    pub(super) fn append(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    pub(super) fn cut(&self, offset: u64) -> io::Result<()> {
        self.file.set_len(offset)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    pub(super) fn read(&self, offset: u64, bytes: usize) -> Result<Vec<u8>, StoreError> {
        let mut buffer = vec![0; bytes];
        match self.file.read_at(&mut buffer, offset) {
            Ok(()) => Ok(buffer),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.corrupt(offset, "the file ends within a value"))
            }
            Err(error) => {
                let text = format!("{}: {error}", self.path.display());
                Err(StoreError::unavailable("reading a value", io::Error::new(error.kind(), text)))
            }
        }
    }

    pub(super) fn corrupt(&self, offset: u64, why: &str) -> StoreError {
        corrupt(&self.path, offset, why)
    }
}

fn corrupt(path: &Path, offset: u64, why: &str) -> StoreError {
    StoreError::Corrupt(format!("{} at byte {offset}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_numbers_of_eight_digits_and_more() {
        for (text, expected) in [
            ("00000001.log", Some(1)),
            ("123456789.log", Some(123_456_789)),
            ("1.log", None),
            ("0000000x.log", None),
            ("00000001", None),
            ("lock", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }
}
