//! Runs a reconciler: workers take keys from its queue, errors bring the key back with backoff.

use crate::{api::chain, queue::WorkQueue};
use async_trait::async_trait;
use std::{error::Error, fmt::Debug, hash::Hash, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// What a reconciler asks for after a success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: the next change brings the key back.
    Wait,
    /// Look again after this long, whatever happens.
    After(Duration),
}

impl Next {
    /// The earlier of two wishes.
    pub fn or(self, other: Next) -> Next {
        match (self, other) {
            (Next::After(a), Next::After(b)) => Next::After(a.min(b)),
            (Next::Wait, other) => other,
            (after, Next::Wait) => after,
        }
    }
}

/// Any failure of a reconciler; its chain is logged.
pub type ReconcileError = Box<dyn Error + Send + Sync>;

/// Brings one object's world to what its specification says. Given a key, never a difference.
#[async_trait]
pub trait Reconcile: Send + Sync + 'static {
    /// What identifies the work.
    type Key: Clone + Debug + Eq + Hash + Ord + Send + Sync + 'static;
    /// Name in logs.
    const NAME: &'static str;
    /// Workers at a time.
    const WORKERS: usize = 5;

    /// Looks, plans, executes. Must be safe to run again at any time.
    async fn reconcile(&self, key: &Self::Key) -> Result<Next, ReconcileError>;
}

/// A reconciler's queue, shared with the subscribers that fill it.
pub type Queue<R> = Arc<WorkQueue<<R as Reconcile>::Key>>;

/// Failures of one key after which each is logged as a warning; conflicts and races settle before.
const QUIET_BACKOFF: Duration = Duration::from_millis(100);

/// Runs until `shutdown`; what is under way then is finished first.
pub async fn run<R: Reconcile>(reconciler: Arc<R>, queue: Queue<R>, shutdown: CancellationToken) {
    queue.set_name(R::NAME);
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..R::WORKERS {
        workers.spawn(work(reconciler.clone(), queue.clone()));
    }
    shutdown.cancelled().await;
    queue.close();
    while workers.join_next().await.is_some() {}
}

async fn work<R: Reconcile>(reconciler: Arc<R>, queue: Queue<R>) {
    while let Some(key) = queue.next().await {
        // A worker outlives a bug in one object's reconciliation: the key fails, others go on.
        let run = std::panic::AssertUnwindSafe(reconciler.reconcile(&key));
        let result = futures::FutureExt::catch_unwind(run).await;
        match result {
            Ok(Ok(next)) => {
                queue.forget(&key);
                if let Next::After(delay) = next {
                    queue.add_after(key.clone(), delay);
                }
            }
            Ok(Err(error)) => {
                let again_after = queue.retry(key.clone());
                let error = chain(&*error);
                if again_after > QUIET_BACKOFF {
                    tracing::warn!(controller = R::NAME, ?key, ?again_after, error, "reconciling failed");
                } else {
                    tracing::debug!(controller = R::NAME, ?key, ?again_after, error, "reconciling failed");
                }
            }
            Err(_) => {
                let again_after = queue.retry(key.clone());
                tracing::error!(controller = R::NAME, ?key, ?again_after, "reconciling panicked");
            }
        }
        queue.done(&key);
    }
}
