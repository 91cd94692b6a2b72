//! Compaction: etcd keeps every revision until somebody tells it not to. Whoever writes to it does, on a clock; what
//! is forgotten is older than every reader's own past.

use super::{Calls, convert::Refusal};
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

/// Every `age`, forgets what was the past already `age` ago.
pub(super) fn start(calls: Calls, age: Duration) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut newest_before = None;
        loop {
            let newest = calls.revision().await;
            if let Some(before) = newest_before.take() {
                match calls.compact(before).await {
                    Ok(()) => tracing::debug!(before, "compacted etcd"),
                    // Another API server was faster.
                    Err(Refusal::Compacted) => (),
                    Err(refusal) => {
                        tracing::warn!(before, reason = %refusal, "etcd cannot be compacted; trying again later")
                    }
                }
            }
            newest_before = newest.ok();
            tokio::time::sleep(age).await;
        }
    }))
}
