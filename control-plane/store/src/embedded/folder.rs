//! The data folder: its lock, and the file that says in which format it is written. What the engine keeps inside is
//! not known here.

use crate::contract::StoreError;
use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// First line of the format file. The number grows when an older build could not read what a newer one wrote.
const FORMAT: &str = "keelson-store 1\n";

/// The folder, locked for as long as this lives.
pub(super) struct Folder {
    path: PathBuf,
    /// `flock`ed: the kernel gives it back when the process ends, however it ends.
    _lock: File,
}

impl Folder {
    /// Locks the folder (and makes it), and compares its format.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let unavailable = |error: io::Error| {
            StoreError::unavailable(
                "opening the data folder",
                io::Error::new(error.kind(), format!("{}: {error}", path.display())),
            )
        };
        fs::create_dir_all(path).map_err(unavailable)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("lock"))
            .map_err(unavailable)?;
        match lock.try_lock() {
            Ok(()) => (),
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked { path: path.display().to_string() });
            }
            Err(TryLockError::Error(error)) => return Err(unavailable(error)),
        }
        let folder = Self { path: path.to_owned(), _lock: lock };
        folder.check_format(unavailable)?;
        Ok(folder)
    }

    /// Where the engine's files are.
    pub(super) fn engine_path(&self) -> PathBuf {
        self.path.join("engine")
    }

    fn check_format(&self, unavailable: impl Fn(io::Error) -> StoreError) -> Result<(), StoreError> {
        let file = self.path.join("format");
        match fs::read(&file) {
            Ok(found) if found == FORMAT.as_bytes() => Ok(()),
            Ok(found) => Err(StoreError::Corrupt(format!(
                "{} says {:?}, this build reads and writes {FORMAT:?} only",
                file.display(),
                String::from_utf8_lossy(&found[..found.len().min(80)])
            ))),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unavailable(error)),
            Err(_) if self.engine_path().exists() => Err(StoreError::Corrupt(format!(
                "{} is missing beside an engine that has data: restore the folder as a whole",
                file.display()
            ))),
            Err(_) => self.write_format(&file).map_err(unavailable),
        }
    }

    fn write_format(&self, file: &Path) -> io::Result<()> {
        let new = self.path.join("format.new");
        let mut writing = File::create(&new)?;
        writing.write_all(FORMAT.as_bytes())?;
        writing.sync_all()?;
        fs::rename(&new, file)?;
        File::open(&self.path)?.sync_all()
    }
}
