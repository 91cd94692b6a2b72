//! Small files that only root may read, each whole or not there.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Makes a folder and those above it.
pub(super) fn make_private_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Whole under its name or not there at all.
pub(super) fn write(file: &Path, content: &[u8]) -> std::io::Result<()> {
    let fresh = file.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let mut out = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    out.write_all(content)?;
    out.sync_all()?;
    std::fs::rename(fresh, file)
}

/// Gone, or never there.
pub(super) fn remove(file: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// What lies in a folder, in no order.
pub(super) fn contents(folder: &Path) -> std::io::Result<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        // Left by a write that did not end.
        if path.extension().is_some_and(|extension| extension == "new") {
            std::fs::remove_file(path)?;
        } else {
            all.push(std::fs::read(path)?);
        }
    }
    Ok(all)
}
