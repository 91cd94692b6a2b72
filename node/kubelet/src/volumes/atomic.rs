//! Writing a set of files so that a reader sees either all of the old ones or all of the new ones.
//!
//! The layout is upstream's, which programs watch: `..<time>/` holds the files, `..data` links to it,
//! and each name links to `..data/<name>`. An update makes a new folder and exchanges the one link.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use k8s_openapi::jiff::Timestamp;

/// One file of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) content: Vec<u8>,
    /// Permission bits.
    pub(super) mode: u32,
    /// Owner, where it is not root.
    pub(super) owner: Option<u32>,
}

/// Files by path relative to the volume. Paths are relative and without `..`: `files` checks it.
pub(super) type Files = BTreeMap<PathBuf, File>;

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";

/// Makes `dir` hold exactly `files`. Writes nothing when it does already.
pub(super) fn write(dir: &Path, files: &Files, group: Option<i64>) -> io::Result<()> {
    let group = group.and_then(|group| u32::try_from(group).ok());
    let old = fs::read_link(dir.join(DATA)).ok();
    if let Some(old) = &old
        && same(&dir.join(old), files)?
    {
        return Ok(());
    }
    let name = format!("..{}", Timestamp::now().strftime("%Y_%m_%d_%H_%M_%S.%9f"));
    let fresh = dir.join(&name);
    fs::create_dir_all(&fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
    for (path, file) in files {
        write_file(&fresh, path, file, group)?;
    }
    let link = dir.join(DATA_NEW);
    match fs::remove_file(&link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(&name, &link)?;
    fs::rename(&link, dir.join(DATA))?;
    link_names(dir, files)?;
    match old {
        Some(old) if old.as_os_str() != name.as_str() => fs::remove_dir_all(dir.join(old)),
        _ => Ok(()),
    }
}

fn write_file(root: &Path, path: &Path, file: &File, group: Option<u32>) -> io::Result<()> {
    let at = root.join(path);
    if let Some(parent) = at.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(&at, &file.content)?;
    if file.owner.is_some() || group.is_some() {
        chown(&at, file.owner, group)?;
    }
    // The group of the pod may read what the owner may.
    let mode = if group.is_some() { file.mode | ((file.mode & 0o400) >> 3) } else { file.mode };
    fs::set_permissions(&at, fs::Permissions::from_mode(mode))
}

/// Links the first component of each path, and removes links of what is gone.
fn link_names(dir: &Path, files: &Files) -> io::Result<()> {
    let wanted: BTreeSet<_> = files.keys().filter_map(|path| path.components().next()).collect();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let ours = name.to_string_lossy().starts_with("..");
        let kept = wanted.iter().any(|component| component.as_os_str() == name);
        if !ours && !kept {
            fs::remove_file(entry.path())?;
        }
    }
    for component in wanted {
        let at = dir.join(component);
        if fs::symlink_metadata(&at).is_err() {
            symlink(Path::new(DATA).join(component), at)?;
        }
    }
    Ok(())
}

fn same(root: &Path, files: &Files) -> io::Result<bool> {
    let mut present = 0;
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
                continue;
            }
            present += 1;
            let path = entry.path();
            let Some(file) = path.strip_prefix(root).ok().and_then(|relative| files.get(relative)) else {
                return Ok(false);
            };
            if fs::read(&path)? != file.content {
                return Ok(false);
            }
        }
    }
    Ok(present == files.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(entries: &[(&str, &str)]) -> Files {
        let file = |text: &str| File { content: text.as_bytes().to_vec(), mode: 0o644, owner: None };
        entries.iter().map(|(path, text)| (PathBuf::from(path), file(text))).collect()
    }

    #[test]
    fn an_update_is_one_exchanged_link_and_leaves_nothing_old_behind() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &files(&[("a", "1"), ("deep/b", "2"), ("gone", "3")]), None).unwrap();
        let read = |name: &str| fs::read_to_string(dir.path().join(name));
        assert_eq!(read("a").unwrap(), "1");
        assert_eq!(read("deep/b").unwrap(), "2");
        let before = fs::read_link(dir.path().join("..data")).unwrap();
        write(dir.path(), &files(&[("a", "new"), ("deep/b", "2")]), None).unwrap();
        assert_eq!(read("a").unwrap(), "new");
        assert!(fs::symlink_metadata(dir.path().join("gone")).is_err());
        assert!(!dir.path().join(before).exists());
        assert_eq!(fs::read_link(dir.path().join("a")).unwrap(), Path::new("..data/a"));
    }

    #[test]
    fn the_same_content_is_not_written_again() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &files(&[("a", "1")]), None).unwrap();
        let before = fs::read_link(dir.path().join("..data")).unwrap();
        write(dir.path(), &files(&[("a", "1")]), None).unwrap();
        assert_eq!(fs::read_link(dir.path().join("..data")).unwrap(), before);
    }
}
