//! TCP connections through a Service to a pod that is gone are ended, so that their clients do not wait for a dead node.
//!
//! Not urgent, and a look at every connection: what comes meanwhile is looked for together.

use std::{path::PathBuf, sync::Arc, time::Duration};

use keelson_sys::sockets::{self, Transport};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    follower::{chain, off_workers},
    handle::Shared,
    maps::GoneTcp,
};

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// Frontends that wait for a look. Beyond that clients hear by their own timeouts, as they would of any other host.
const WAITING_MAX: usize = 16_384;

/// What waits for the next look. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resets {
    waiting: Arc<Mutex<GoneTcp>>,
    added: Arc<Notify>,
}

impl Resets {
    pub(crate) fn add(&self, gone: GoneTcp) {
        if gone.is_empty() {
            return;
        }
        let mut waiting = self.waiting.lock();
        for (frontend, addresses) in gone {
            if waiting.len() < WAITING_MAX || waiting.contains_key(&frontend) {
                waiting.entry(frontend).or_default().extend(addresses);
            }
        }
        self.added.notify_one();
    }

    /// Ends connections for ever. Those of processes below the cgroup, and of the node itself.
    pub(crate) async fn run(self, shared: Arc<Shared>, cgroup: PathBuf) {
        loop {
            self.added.notified().await;
            tokio::time::sleep(PAUSE).await;
            let gone = std::mem::take(&mut *self.waiting.lock());
            let stale = match shared.clone().blocking(move |dataplane| dataplane.connections_to(&gone)).await
            {
                Ok(stale) => stale,
                Err(error) => {
                    tracing::warn!(
                        error = chain(&error),
                        "connections to pods that are gone were not looked for"
                    );
                    continue;
                }
            };
            if stale.is_empty() {
                continue;
            }
            let cgroup = cgroup.clone();
            let end = move || sockets::destroy(&cgroup, Transport::Tcp, |socket| stale.names(socket));
            match off_workers(end).await {
                Some(Ok(ended)) => tracing::debug!(ended, "connections to pods that are gone"),
                Some(Err(error)) => {
                    tracing::warn!(error = chain(&error), "connections to pods that are gone were not ended");
                }
                None => {}
            }
        }
    }
}
