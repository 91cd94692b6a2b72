//! Garbage collector: deletes what lost its owners, and carries out foreground and orphaning deletion.
//!
//! ```text
//!   metadata of every deletable resource ──▶ Graph ──▶ uids to look at ──▶ live reads ──▶ verdict ──▶ delete or patch
//! ```
//! Resources come from discovery, asked again every half minute. Kinds that have a shared informer are heard there; of
//! all others only the metadata is watched. Nothing is deleted on the word of a cache: the object and each of its owners
//! are read from the server first, and a read that fails is an error, not an absence.

mod act;
mod follow;
mod graph;
mod plan;
#[cfg(test)]
mod tests;

use crate::shared::Shared;
use async_trait::async_trait;
use graph::{Graph, Uid};
use keelson_harness::{
    Resource,
    controller::{self, Next, Queue, Reconcile, ReconcileError},
    discovery::Discovery,
    events::Recorder,
};
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;

pub(crate) struct Collector {
    shared: Shared,
    graph: Mutex<Graph>,
    /// The newest discovery; `None` until the first succeeded.
    served: RwLock<Option<Arc<Discovery>>>,
    recorder: Recorder,
    queue: Queue<Collector>,
}

pub(crate) async fn run(shared: Shared) {
    let recorder = shared.recorder("garbage-collector-controller");
    let shutdown = shared.shutdown.clone();
    let queue = Queue::<Collector>::default();
    let this = Arc::new(Collector {
        shared,
        graph: Mutex::default(),
        served: RwLock::default(),
        recorder,
        queue: queue.clone(),
    });
    if follow::start(&this).await {
        let doubtful = this.graph.lock().doubtful();
        this.look_at(doubtful);
        controller::run(this, queue, shutdown).await;
    }
}

impl Collector {
    fn look_at(&self, uids: Vec<Uid>) {
        uids.into_iter().for_each(|uid| self.queue.add(uid));
    }

    fn resource_of(&self, group: &str, kind: &str) -> Option<Resource> {
        self.served.read().as_ref()?.by_kind(group, kind).cloned()
    }
}

#[async_trait]
impl Reconcile for Collector {
    type Key = Uid;
    const NAME: &'static str = "garbage-collector";
    const WORKERS: usize = 10;

    async fn reconcile(&self, uid: &Uid) -> Result<Next, ReconcileError> {
        let Some(node) = self.graph.lock().get(uid) else { return Ok(Next::Wait) };
        if node.orphan {
            self.orphan_dependents(uid, &node).await?;
        } else if node.foreground {
            self.advance_foreground(uid, &node).await?;
        } else if !node.deleting {
            self.judge(uid, &node).await?;
        }
        Ok(Next::Wait)
    }
}
