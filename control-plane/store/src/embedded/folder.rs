//! The data folder and its lock. What the log keeps inside is not known here.

use crate::contract::StoreError;
use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

/// The folder of the log within it.
const LOG: &str = "log";

/// The folder, locked for as long as this lives.
pub(super) struct Folder {
    path: PathBuf,
    /// `flock`ed: the kernel gives it back when the process ends, however it ends.
    _lock: File,
}

impl Folder {
    /// Locks the folder (and makes it).
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
        folder.prepare(unavailable)?;
        Ok(folder)
    }

    /// Where the log's files are.
    pub(super) fn log_path(&self) -> PathBuf {
        self.path.join(LOG)
    }

    /// Makes the log's folder, durable. A folder that an earlier build wrote is refused: its engine is not here.
    fn prepare(&self, unavailable: impl Fn(io::Error) -> StoreError) -> Result<(), StoreError> {
        if self.path.join("engine").exists() {
            return Err(StoreError::Corrupt(format!(
                "{} is written by an earlier build, in another format",
                self.path.display()
            )));
        }
        fs::create_dir_all(self.log_path()).map_err(&unavailable)?;
        File::open(&self.path).and_then(|folder| folder.sync_all()).map_err(unavailable)
    }
}
