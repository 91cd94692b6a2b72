//! Pins as files: a bpffs is a file system, its entries are removed like any other's.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    path::Path,
};

use nix::sys::statfs::{FsType, statfs};

use super::{BpfError, syscall};

/// `BPF_FS_MAGIC` of `linux/magic.h`.
const BPF_FS_MAGIC: FsType = FsType(0xcafe_4a11);

/// Whether a bpffs is mounted at, or above, an existing folder.
pub fn is_bpffs(folder: &Path) -> Result<bool, BpfError> {
    match statfs(folder) {
        Ok(found) => Ok(found.filesystem_type() == BPF_FS_MAGIC),
        Err(e) => Err(BpfError::of(format!("looking at the file system of {}", folder.display()), e.into())),
    }
}

/// Pins a program, which then lives as long as the pin.
pub fn pin_program(program: BorrowedFd<'_>, path: &Path) -> Result<(), BpfError> {
    syscall::pin(program.as_raw_fd() as u32, path)
}

/// Removes a pin; what it pinned lives on while a descriptor, program or link holds it. Absent is fine.
pub fn unpin(path: &Path) -> Result<(), BpfError> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(BpfError::of(format!("removing the pin {}", path.display()), e)),
    }
}
