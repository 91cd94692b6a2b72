//! Network namespaces of a measurement's own. None has a name: each lives as long as the process, whatever ends it.

use std::{fs::File, os::fd::AsRawFd, path::PathBuf, process::Command};

use nix::sched::{CloneFlags, setns, unshare};

use crate::Result;

/// A network namespace, kept by its file.
pub(crate) struct Space(File);

impl Space {
    /// A new one: made by a thread that ends with it, so that the caller stays where it is.
    pub(crate) fn new() -> Result<Self> {
        let made = std::thread::spawn(|| -> std::io::Result<Self> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            Self::own()
        });
        Ok(made.join().map_err(|_| "the thread of a namespace panicked")??)
    }

    /// The one that this thread is in.
    pub(crate) fn own() -> std::io::Result<Self> {
        Ok(Self(File::open("/proc/thread-self/ns/net")?))
    }

    /// Where other processes find it, too.
    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()).into()
    }

    /// Puts this thread, and those that it starts, into it.
    pub(crate) fn enter(&self) -> Result<()> {
        Ok(setns(&self.0, CloneFlags::CLONE_NEWNET)?)
    }

    /// Does something on a thread in it.
    pub(crate) fn within<T: Send>(&self, act: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let entered = || {
            self.enter().map_err(|e| e.to_string())?;
            act().map_err(|e| e.to_string())
        };
        let done = std::thread::scope(|scope| scope.spawn(entered).join());
        Ok(done.map_err(|_| "a thread in a namespace panicked")??)
    }

    /// Has iproute2 do something in it.
    pub(crate) fn ip(&self, words: &str) -> Result<()> {
        self.within(|| {
            let status =
                Command::new("ip").args(words.split(' ')).status().map_err(|e| format!("ip: {e}"))?;
            if status.success() { Ok(()) } else { Err(format!("ip {words}: {status}").into()) }
        })
    }
}
