//! A file that is put aside when it is full. Names, ages and compression are those of the library that upstream uses, so
//! that whatever collects logs finds them: `audit-2026-01-31T12-00-00.000.log.gz` beside `audit.log`, times in UTC.

use super::Lines;
use flate2::{Compression, write::GzEncoder};
use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};
use time::{
    Duration, OffsetDateTime, PrimitiveDateTime, format_description::BorrowedFormatItem,
    macros::format_description,
};

/// In the names of files that were put aside.
const STAMP: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]-[minute]-[second].[subsecond digits:3]");
/// Ends the name of a compressed one.
const PACKED: &str = ".gz";

/// When files are put aside and thrown away; 0 for never, but for the size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rotation {
    pub(super) file_bytes_max: u64,
    pub(super) age_days_max: u32,
    pub(super) backups_max: usize,
    pub(super) compress: bool,
}

/// The file that is written to.
pub(super) struct Rotated {
    path: PathBuf,
    rotation: Rotation,
    file: File,
    bytes: u64,
}

impl Rotated {
    /// Goes on with the file, or makes it and its folder. Nobody else may read it.
    pub(super) fn open(path: PathBuf, rotation: Rotation) -> io::Result<Self> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        let file = open(&path)?;
        let bytes = file.metadata()?.len();
        let rotated = Self { path, rotation, file, bytes };
        rotated.tidy();
        Ok(rotated)
    }

    fn rotate(&mut self) -> io::Result<()> {
        let mut now = OffsetDateTime::now_utc();
        let aside = loop {
            let aside = self.aside(now)?;
            let packed = append(&aside, PACKED);
            if !aside.exists() && !packed.exists() {
                break aside;
            }
            now += Duration::MILLISECOND;
        };
        fs::rename(&self.path, aside)?;
        self.file = open(&self.path)?;
        self.bytes = 0;
        self.tidy();
        Ok(())
    }

    /// The name of a file put aside at a time.
    fn aside(&self, at: OffsetDateTime) -> io::Result<PathBuf> {
        let stamp = at.format(STAMP).map_err(io::Error::other)?;
        let (stem, extension) = self.parts();
        Ok(self.path.with_file_name(format!("{stem}-{stamp}{extension}")))
    }

    /// `audit` and `.log`.
    fn parts(&self) -> (String, String) {
        let text = |part: Option<&OsStr>| part.map(|part| part.to_string_lossy().into_owned());
        let extension = text(self.path.extension()).map(|extension| format!(".{extension}"));
        (text(self.path.file_stem()).unwrap_or_default(), extension.unwrap_or_default())
    }

    /// Throws away what is too old or too many, and compresses the rest. What goes wrong with old files keeps nothing from
    /// being written to the new one.
    fn tidy(&self) {
        if let Err(error) = self.try_tidy() {
            tracing::warn!(path = %self.path.display(), %error, "old audit logs cannot be tidied up");
        }
    }

    fn try_tidy(&self) -> io::Result<()> {
        let Rotation { age_days_max, backups_max, compress, .. } = self.rotation;
        let oldest =
            (age_days_max > 0).then(|| OffsetDateTime::now_utc() - Duration::days(i64::from(age_days_max)));
        for (number, (at, path)) in self.backups()?.into_iter().enumerate() {
            let surplus = backups_max > 0 && number >= backups_max;
            if surplus || oldest.is_some_and(|oldest| at < oldest) {
                fs::remove_file(path)?;
            } else if compress && path.extension() != Some(OsStr::new(&PACKED[1..])) {
                pack(&path)?;
            }
        }
        Ok(())
    }

    /// Files that were put aside, the newest first.
    fn backups(&self) -> io::Result<Vec<(OffsetDateTime, PathBuf)>> {
        let (stem, extension) = self.parts();
        let prefix = format!("{stem}-");
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut found = Vec::new();
        for entry in fs::read_dir(folder.unwrap_or(Path::new(".")))? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let plain = name.strip_suffix(PACKED).unwrap_or(name);
            let stamp = plain.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(&extension));
            if let Some(at) = stamp.and_then(|stamp| PrimitiveDateTime::parse(stamp, STAMP).ok()) {
                found.push((at.assume_utc(), entry.path()));
            }
        }
        found.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        Ok(found)
    }
}

impl Lines for Rotated {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let more = lines.len() as u64;
        if self.bytes > 0 && self.bytes + more > self.rotation.file_bytes_max {
            self.rotate()?;
        }
        let written = self.file.write_all(lines);
        if written.is_err() {
            // A part of a line may be there: whoever reads the file later shall not find it. A device has no length.
            let _ = self.file.set_len(self.bytes);
            return written;
        }
        self.bytes += more;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn append(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Compresses a file: the packed one is complete before the plain one goes.
fn pack(path: &Path) -> io::Result<()> {
    let packed = append(path, PACKED);
    let mut to = GzEncoder::new(open(&packed)?, Compression::default());
    let copied = io::copy(&mut File::open(path)?, &mut to).and_then(|_| to.finish()?.sync_all());
    if copied.is_err() {
        fs::remove_file(packed)?;
        return copied;
    }
    fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    const ROTATION: Rotation =
        Rotation { file_bytes_max: 10, age_days_max: 0, backups_max: 0, compress: false };

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_full_file_is_put_aside_under_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/audit.log");
        let mut log = Rotated::open(path.clone(), ROTATION).unwrap();
        for line in ["12345\n", "6789\n", "next\n"] {
            log.write(line.as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "6789\nnext\n");
        // One that is there already is gone on with.
        let mut log = Rotated::open(path.clone(), ROTATION).unwrap();
        log.write(b"more\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "more\n");
        let names = names(path.parent().unwrap());
        assert_eq!(names.len(), 3, "{names:?}");
        assert_eq!((&names[0][..6], names[0].len(), &names[2][..]), ("audit-", 33, "audit.log"));
    }

    #[test]
    fn old_files_and_those_beyond_the_number_go() {
        let folder = tempfile::tempdir().unwrap();
        let touch = |name: &str| fs::write(folder.path().join(name), "x").unwrap();
        let foreign = ["audit-notes.log", "other-2020-01-01T00-00-00.000.log"];
        foreign.iter().for_each(|name| touch(name));
        let stamp = |hours: i64| (OffsetDateTime::now_utc() - Duration::hours(hours)).format(STAMP).unwrap();
        let own = [1, 2, 3, 100].map(|hours| format!("audit-{}.log", stamp(hours)));
        own.iter().for_each(|name| touch(name));
        let open = |rotation| Rotated::open(folder.path().join("audit.log"), rotation).unwrap();
        open(Rotation { age_days_max: 4, ..ROTATION });
        assert!(!names(folder.path()).contains(&own[3]));
        open(Rotation { backups_max: 2, compress: true, ..ROTATION });
        let mut wanted: Vec<String> = own[..2].iter().map(|name| format!("{name}.gz")).collect();
        wanted.extend(foreign.map(str::to_owned));
        wanted.push("audit.log".to_owned());
        wanted.sort();
        assert_eq!(names(folder.path()), wanted);
        let mut text = String::new();
        let packed = File::open(folder.path().join(format!("{}.gz", own[0]))).unwrap();
        flate2::read::GzDecoder::new(packed).read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
    }

    #[test]
    fn what_could_not_be_written_whole_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let mut log = Rotated::open(path.clone(), ROTATION).unwrap();
        log.write(b"one\n").unwrap();
        // The file is not open for writing: as on a full disk.
        log.file = File::open(&path).unwrap();
        log.write(b"two\n").unwrap_err();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\n");
    }
}
