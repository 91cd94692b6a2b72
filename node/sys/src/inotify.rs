//! Waiting for a file to change, through inotify(7).
#![expect(unsafe_code, reason = "tokio wants a promise about the descriptor; it is proved where it is given")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;

/// What wakes a waiter: writing, the writer closing, renaming.
const FLAGS: AddWatchFlags =
    AddWatchFlags::IN_MODIFY.union(AddWatchFlags::IN_CLOSE_WRITE).union(AddWatchFlags::IN_MOVE_SELF);

/// An inotify instance that owns its descriptor for as long as it lives.
struct Instance(Inotify);

impl AsRawFd for Instance {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Tells when files were changed. Changes between two waits are not lost.
pub struct FileWatch {
    instance: AsyncFd<Instance>,
}

impl FileWatch {
    /// Begins to watch `path`.
    pub fn new(path: &Path) -> io::Result<Self> {
        let instance = Instance(Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?);
        // SAFETY: `as_raw_fd` answers the descriptor that `Inotify` owns: it is open and always the same one until the
        // instance is dropped, and `AsyncFd` owns the instance and gives no one the means to replace it.
        let instance = unsafe { AsyncFd::register(instance)? };
        let watch = Self { instance };
        watch.add(path)?;
        Ok(watch)
    }

    /// Watches another file too, or the new one under an old name.
    pub fn add(&self, path: &Path) -> io::Result<()> {
        self.instance.get_ref().0.add_watch(path, FLAGS)?;
        Ok(())
    }

    /// Returns when a file was written to, closed by its writer or renamed since the last call.
    pub async fn changed(&self) -> io::Result<()> {
        loop {
            let mut ready = self.instance.readable().await?;
            match self.instance.get_ref().0.read_events() {
                Ok(_) => return Ok(()),
                Err(nix::Error::EAGAIN) => ready.clear_ready(),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}
