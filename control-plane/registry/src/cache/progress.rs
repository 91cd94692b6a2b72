//! The revision that every cache has reached, and waiting for it.

use crate::status::Status;
use keelson_store::Revision;
use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;

/// How long a request waits for the caches to reach a revision before it is told to come back.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(3);

/// Shared by the feed, which moves it, and everybody who waits.
pub(crate) struct Progress {
    reached: AtomicU64,
    wake: watch::Sender<Revision>,
    failure: OnceLock<String>,
}

impl Progress {
    pub(crate) fn new(revision: Revision) -> Self {
        Self {
            reached: AtomicU64::new(revision),
            wake: watch::Sender::new(revision),
            failure: OnceLock::new(),
        }
    }

    /// Every cache shows at least this revision.
    pub(crate) fn reached(&self) -> Revision {
        self.reached.load(Ordering::Acquire)
    }

    /// After the caches' states were replaced. The feed's alone.
    pub(crate) fn advance(&self, revision: Revision) {
        self.reached.store(revision, Ordering::Release);
        self.wake.send_replace(revision);
    }

    /// The feed cannot go on: from now on every consistent read and write fails with `why`.
    pub(crate) fn fail(&self, why: String) {
        if self.failure.set(why).is_ok() {
            self.wake.send_modify(|_| ());
        }
    }

    /// Err once the feed has ended: what the caches show may be old.
    pub(crate) fn check(&self) -> Result<(), Status> {
        self.failure
            .get()
            .map_or(Ok(()), |why| Err(Status::internal(format!("the watch cache has stopped: {why}"))))
    }

    /// Waits until the caches show `revision`; 504 after [`WAIT_MAX`].
    pub(crate) async fn wait(&self, revision: Revision) -> Result<(), Status> {
        self.check()?;
        if self.reached() >= revision {
            return Ok(());
        }
        let mut wake = self.wake.subscribe();
        let reached = wake.wait_for(|reached| *reached >= revision || self.failure.get().is_some());
        match tokio::time::timeout(WAIT_MAX, reached).await {
            Ok(_) => self.check(),
            Err(_) => Err(Status::too_large_resource_version(revision, self.reached())),
        }
    }
}
