//! Mounts that a pod's volumes need: memory-backed directories and bind mounts for `subPath`.
//!
//! Owns the system calls; which volume is mounted where is the kubelet's. Blocking: each call is a few
//! microseconds, none waits for a device.

use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use parking_lot::Mutex;

/// Mount operations. A test uses [`RecordedMounts`].
pub trait Mounts: Send + Sync + 'static {
    /// Mounts an empty memory file system at `at`; without a size the kernel allows half of the memory.
    fn tmpfs(&self, at: &Path, size_bytes: Option<u64>) -> io::Result<()>;
    /// Binds `relative`, resolved without ever leaving `root` (`..` and symbolic links included), at
    /// `at`. Both `relative`'s target and `at` exist and are of one kind (two directories or two files).
    fn bind_beneath(&self, root: &Path, relative: &Path, at: &Path) -> io::Result<()>;
    /// Detaches what is mounted at `at`. Not being a mount point is success.
    fn unmount(&self, at: &Path) -> io::Result<()>;
    /// Mount points at or below `root`, deepest first.
    fn below(&self, root: &Path) -> io::Result<Vec<PathBuf>>;
}

/// The kernel's mounts in this process's mount namespace.
#[derive(Clone, Copy, Debug, Default)]
pub struct KernelMounts;

impl Mounts for KernelMounts {
    fn tmpfs(&self, at: &Path, size_bytes: Option<u64>) -> io::Result<()> {
        let options = size_bytes.map(|bytes| format!("size={bytes}"));
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("tmpfs"), at, Some("tmpfs"), flags, options.as_deref())?;
        Ok(())
    }

    fn bind_beneath(&self, root: &Path, relative: &Path, at: &Path) -> io::Result<()> {
        let root = std::fs::File::open(root)?;
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let target = openat2(&root, relative, how)?;
        // The descriptor pins what was resolved; a later exchange of a link cannot redirect the mount.
        let source = PathBuf::from(format!("/proc/self/fd/{}", target.as_raw_fd()));
        mount(Some(&source), at, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)?;
        Ok(())
    }

    fn unmount(&self, at: &Path) -> io::Result<()> {
        match umount2(at, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn below(&self, root: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(mount_points_below(&std::fs::read_to_string("/proc/self/mountinfo")?, root))
    }
}

/// Reads mountinfo (proc_pid_mountinfo(5)): the fifth field is the mount point, octal-escaped.
fn mount_points_below(mountinfo: &str, root: &Path) -> Vec<PathBuf> {
    let mut points: Vec<PathBuf> = mountinfo
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| PathBuf::from(unescape(point)))
        .filter(|point| point.starts_with(root))
        .collect();
    points.sort_by_key(|point| std::cmp::Reverse(point.components().count()));
    points
}

/// Undoes mountinfo's `\040` for a space and its like.
pub(crate) fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        match rest.get(at + 1..at + 4).and_then(|octal| u8::from_str_radix(octal, 8).ok()) {
            Some(byte) => {
                out.push(char::from(byte));
                rest = &rest[at + 4..];
            }
            None => {
                out.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// Records calls instead of making them.
#[derive(Debug, Default)]
pub struct RecordedMounts {
    /// One line a call, in order.
    pub calls: Mutex<Vec<String>>,
}

impl Mounts for RecordedMounts {
    fn tmpfs(&self, at: &Path, size_bytes: Option<u64>) -> io::Result<()> {
        self.calls.lock().push(format!("tmpfs {} {size_bytes:?}", at.display()));
        Ok(())
    }

    fn bind_beneath(&self, root: &Path, relative: &Path, at: &Path) -> io::Result<()> {
        self.calls.lock().push(format!("bind {} {} {}", root.display(), relative.display(), at.display()));
        Ok(())
    }

    fn unmount(&self, at: &Path) -> io::Result<()> {
        self.calls.lock().push(format!("unmount {}", at.display()));
        Ok(())
    }

    fn below(&self, _root: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &str = "22 1 0:20 / /proc rw - proc proc rw\n\
        30 1 0:30 / /data/pods/a\\040b/vol rw - tmpfs tmpfs rw\n\
        31 30 0:31 / /data/pods/a\\040b/vol/deep/er rw - tmpfs tmpfs rw\n\
        32 1 0:32 / /data/pods-other rw - tmpfs tmpfs rw\n";

    #[test]
    fn mounts_below_a_folder_come_deepest_first() {
        let points = mount_points_below(MOUNTINFO, Path::new("/data/pods"));
        assert_eq!(points, [Path::new("/data/pods/a b/vol/deep/er"), Path::new("/data/pods/a b/vol")]);
    }

    #[test]
    fn a_sub_path_cannot_leave_its_volume() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("escape")).unwrap();
        let target = dir.path().join("target");
        std::fs::create_dir(&target).unwrap();
        for path in ["escape", "../..", "/etc"] {
            let error = KernelMounts.bind_beneath(dir.path(), Path::new(path), &target).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(nix::libc::EXDEV), "{path}: {error}");
        }
    }
}
