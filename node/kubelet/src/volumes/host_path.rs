//! `hostPath`: a path of the host as it is, checked or created by its type.
//! Types and messages: API reference, HostPathVolumeSource.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use k8s_openapi::api::core::v1::HostPathVolumeSource;

use super::VolumeError;

pub(super) fn set_up(source: &HostPathVolumeSource) -> Result<(), VolumeError> {
    let path = Path::new(&source.path);
    let kind = source.type_.as_deref().unwrap_or_default();
    let create = |result: std::io::Result<()>| {
        result.map_err(VolumeError::io(format!("cannot create {}", path.display())))
    };
    match kind {
        "" => return Ok(()),
        "DirectoryOrCreate" if !path.exists() => {
            create(
                fs::create_dir_all(path)
                    .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755))),
            )?;
        }
        "FileOrCreate" if !path.exists() => {
            create(
                fs::File::create(path)
                    .and_then(|file| file.set_permissions(fs::Permissions::from_mode(0o644))),
            )?;
        }
        _ => {}
    }
    let fails = || {
        VolumeError::Source(format!("hostPath type check failed: {} is not a {}", path.display(), word(kind)))
    };
    let found = fs::metadata(path).map_err(|_| fails())?.file_type();
    let fits = match kind {
        "Directory" | "DirectoryOrCreate" => found.is_dir(),
        "File" | "FileOrCreate" => found.is_file(),
        "Socket" => found.is_socket(),
        "CharDevice" => found.is_char_device(),
        "BlockDevice" => found.is_block_device(),
        other => return Err(VolumeError::Source(format!("{other} is an invalid volume type"))),
    };
    if fits { Ok(()) } else { Err(fails()) }
}

fn word(kind: &str) -> &str {
    match kind {
        "Directory" | "DirectoryOrCreate" => "directory",
        "File" | "FileOrCreate" => "file",
        "Socket" => "socket file",
        "CharDevice" => "character device",
        _ => "block device",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_is_checked_or_created() {
        let dir = tempfile::tempdir().unwrap();
        let source = |name: &str, kind: &str| HostPathVolumeSource {
            path: dir.path().join(name).display().to_string(),
            type_: Some(kind.to_owned()),
        };
        assert!(set_up(&source("none", "")).is_ok());
        let error = set_up(&source("none", "Directory")).unwrap_err().to_string();
        assert!(error.starts_with("hostPath type check failed: ") && error.ends_with("is not a directory"));
        set_up(&source("d", "DirectoryOrCreate")).unwrap();
        set_up(&source("d", "Directory")).unwrap();
        set_up(&source("f", "FileOrCreate")).unwrap();
        assert!(set_up(&source("f", "Directory")).is_err());
        assert!(set_up(&source("f", "Socket")).is_err());
    }
}
