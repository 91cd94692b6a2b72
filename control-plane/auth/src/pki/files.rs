//! Files that hold secrets: written whole or not at all, readable by their owner only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::PkiError;

/// Keys and certificates are small; anything larger is not one.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The file's content, or nothing when there is no such file. Any other failure is an error, never an absence.
pub(super) fn read_if_there(path: &Path) -> Result<Option<String>, PkiError> {
    let length = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(PkiError::io("read", path)(error)),
    };
    if length > FILE_BYTES_MAX {
        return Err(PkiError::unreadable(
            path,
            "a key, certificate or kubeconfig",
            format!("{length} bytes"),
        ));
    }
    fs::read_to_string(path).map(Some).map_err(PkiError::io("read", path))
}

/// Replaces the file in one step (a reader sees the old or the new content), mode 0600, synced.
pub(super) fn write_secret(path: &Path, content: &str) -> Result<(), PkiError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let draft = folder.join(format!(".{name}.{}", std::process::id()));
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(PkiError::io("write", path))
}

/// Makes the folder (0700) where it is missing.
pub(super) fn make_folder(path: &Path) -> Result<(), PkiError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(PkiError::io("make", path))
}

/// Held while files are made, so that two `init` at a time do not mix their halves.
pub(super) fn lock(folder: &Path) -> Result<File, PkiError> {
    let path = folder.join(".lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(PkiError::io("open", &path))?;
    file.lock().map_err(PkiError::io("lock", &path))?;
    Ok(file)
}
