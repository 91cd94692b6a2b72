//! One process a data folder.

use anyhow::{Context, bail};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use std::{
    fs::{File, OpenOptions},
    path::Path,
};

/// Holds the folder until dropped.
pub(crate) struct DataLock {
    _file: Flock<File>,
}

/// Locks the data folder, or says that somebody else has it.
pub(crate) fn take(data: &Path) -> anyhow::Result<DataLock> {
    std::fs::create_dir_all(data)
        .with_context(|| format!("cannot make the data folder {}", data.display()))?;
    let path = data.join("keelson.lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => Ok(DataLock { _file: file }),
        Err((_, Errno::EWOULDBLOCK)) => {
            bail!("the data folder {} belongs to another keelson process that is running", data.display())
        }
        Err((_, error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_on_the_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let held = take(folder.path()).unwrap();
        assert!(take(folder.path()).is_err());
        drop(held);
        assert!(take(folder.path()).is_ok());
    }
}
