//! `fsGroup`: whose group a volume's files are. Rules: API reference, PodSecurityContext.fsGroup.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;

use super::VolumeError;

/// Folders below each other that are followed at most.
const DEPTH_MAX: usize = 256;

/// Gives everything in `dir` to the group, readable and writable for it; new files inherit the group.
pub(super) fn give_to_group(dir: &Path, group: Option<i64>, on_mismatch: bool) -> Result<(), VolumeError> {
    let Some(group) = group.and_then(|group| u32::try_from(group).ok()) else { return Ok(()) };
    let give = || {
        if on_mismatch && fs::metadata(dir)?.gid() == group {
            return Ok(());
        }
        recurse(dir, group, DEPTH_MAX)
    };
    give().map_err(VolumeError::io(format!("cannot give {} to group {group}", dir.display())))
}

fn recurse(path: &Path, group: u32, depth: usize) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    lchown(path, None, Some(group))?;
    if found.is_symlink() {
        return Ok(());
    }
    let mode = found.permissions().mode();
    if found.is_dir() {
        fs::set_permissions(path, fs::Permissions::from_mode(mode | 0o2770))?;
        if depth == 0 {
            return Err(io::Error::other("folders are nested too deeply"));
        }
        for entry in fs::read_dir(path)? {
            recurse(&entry?.path(), group, depth - 1)?;
        }
    } else {
        fs::set_permissions(path, fs::Permissions::from_mode(mode | 0o660))?;
    }
    Ok(())
}
