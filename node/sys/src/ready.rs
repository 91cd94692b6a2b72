//! Waiting until a descriptor of the kernel's can be read, such as the ring of a BPF map.
#![expect(unsafe_code, reason = "tokio wants a promise about the descriptor; it is proved where it is given")]

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use tokio::io::{Interest, unix::AsyncFd};

/// Wakes when there is something to read. Holds a descriptor of its own.
#[derive(Debug)]
pub struct Readiness(AsyncFd<OwnedFd>);

impl Readiness {
    /// To be made in a tokio runtime. Fails where the descriptor is of nothing that can be polled.
    pub fn of(descriptor: BorrowedFd<'_>) -> io::Result<Self> {
        let own = descriptor.try_clone_to_owned()?;
        // SAFETY: an `OwnedFd` names the same open descriptor until it is dropped, and `AsyncFd` owns it and gives no one the
        // means to replace it.
        Ok(Self(unsafe { AsyncFd::register_with_interest(own, Interest::READABLE)? }))
    }

    /// Returns when something came since the last call. The caller then reads all there is.
    pub async fn ready(&self) -> io::Result<()> {
        self.0.readable().await?.clear_ready();
        Ok(())
    }
}
