//! Facts of the host that a Node object shows: size of a file system, host name, kernel.

use std::io;
use std::path::Path;

/// Room of the file system that holds a path, in bytes and inodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// Size in bytes.
    pub bytes: u64,
    /// Bytes that an unprivileged user may still write.
    pub bytes_free: u64,
    /// Inodes in all; 0 where the file system makes them as needed.
    pub inodes: u64,
    /// Inodes left.
    pub inodes_free: u64,
}

/// Asks the kernel about the file system that holds `path`.
pub fn file_system(path: &Path) -> io::Result<FileSystem> {
    let stat = nix::sys::statvfs::statvfs(path)?;
    let unit = stat.fragment_size();
    Ok(FileSystem {
        bytes: stat.blocks() * unit,
        bytes_free: stat.blocks_available() * unit,
        inodes: stat.files(),
        inodes_free: stat.files_available(),
    })
}

/// The kernel's release, as `uname -r` prints it.
pub fn kernel_release() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned())
}
