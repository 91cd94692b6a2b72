//! The scheduler: gives each pod a node.
//!
//! ```text
//!   informers ──▶ Cache (nodes, pods on them) ──snapshot──▶ decide (plugins, pure) ──▶ assume ──▶ bind (POST)
//!       └───────▶ PodQueue ──pop──────────────────────────────▲   └── none ──▶ condition, event, back to the queue
//! ```
//! One task decides, one pod after the other, on a snapshot that costs a few pointers; bindings run beside it. Events of
//! the cluster wake pods at once: nothing is polled.
//!
//! Not built yet: preemption (a pod of high priority waits like any other), volume binding and dynamic resource
//! allocation (such pods stay Pending with an event that says so), extenders, scheduling profiles beyond the one name.
#![forbid(unsafe_code)]

mod bind;
mod cluster;
mod decide;
mod plugins;
mod queue;
#[cfg(test)]
mod tests;
mod watch;

use cluster::{Cache, PodInfo};
use decide::Decision;
use keelson_harness::{
    Api, Informer, Informers,
    events::Recorder,
    leader::{self, LeaderElection},
    views::Pod,
};
use parking_lot::Mutex;
use queue::PodQueue;
use rand::Rng;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Bindings and reports under way at a time.
const CALLS_MAX: usize = 256;

/// What is configured.
#[derive(Clone, Debug)]
pub struct Config {
    /// Pods that name this scheduler are placed; upstream's default name is `default-scheduler`.
    pub scheduler_name: String,
    /// With several copies: work only while holding this Lease.
    pub leader_election: Option<LeaderElection>,
}

impl Default for Config {
    fn default() -> Self {
        Self { scheduler_name: "default-scheduler".to_owned(), leader_election: None }
    }
}

pub(crate) struct Scheduler {
    api: Api,
    config: Config,
    recorder: Recorder,
    pods: Arc<Informer<Pod>>,
    cache: Mutex<Cache>,
    queue: PodQueue,
}

/// Schedules until `shutdown`, with informers of its own.
pub async fn run(client: kube::Client, config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let informers = Informers::new(&Api::new(client.clone()), &shutdown);
    run_with(client, informers, config, shutdown).await
}

/// Schedules on informers that other components of the process share.
pub async fn run_with(
    client: kube::Client,
    informers: Arc<Informers>,
    config: Config,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let api = Api::new(client);
    leader::run(&api, config.leader_election.as_ref(), &shutdown, |working| {
        work(api.clone(), &informers, config.clone(), working)
    })
    .await
}

/// Until this process stops leading or shuts down; bindings under way are finished.
async fn work(
    api: Api,
    informers: &Informers,
    config: Config,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let (pods, nodes, namespaces) = (informers.pods(), informers.nodes(), informers.namespaces());
    let recorder = Recorder::start(api.clone(), "default-scheduler", shutdown.clone());
    let (cache, queue) = (Mutex::default(), PodQueue::default());
    let this = Arc::new(Scheduler { api, config, recorder, pods: pods.clone(), cache, queue });
    let me = this.clone();
    namespaces.subscribe(&shutdown, move |change| {
        let labels = change.new.as_ref().map(|n| n.metadata.labels.clone());
        me.cache.lock().set_namespace(&change.latest().metadata.name, labels);
    });
    let me = this.clone();
    nodes.subscribe(&shutdown, move |change| me.node_changed(change));
    let me = this.clone();
    pods.subscribe(&shutdown, move |change| me.pod_changed(change));
    if nodes.synced().await && namespaces.synced().await && pods.synced().await {
        this.schedule(&shutdown).await;
    }
    Ok(())
}

impl Scheduler {
    async fn schedule(self: Arc<Self>, shutdown: &CancellationToken) {
        let calls = Arc::new(Semaphore::new(CALLS_MAX));
        let tracker = TaskTracker::new();
        let mut turn = 0_usize;
        loop {
            // The place for the call is taken first: a decision waits for nothing once it is made.
            let Ok(place) = calls.clone().acquire_owned().await else { break };
            let pod = tokio::select! {
                () = shutdown.cancelled() => break,
                pod = self.queue.pop() => match pod { Some(pod) => pod, None => break },
            };
            turn = turn.wrapping_add(1);
            let call = self.clone().next_call(pod, turn);
            tracker.spawn(async move {
                call.await;
                drop(place);
            });
        }
        self.queue.close();
        tracker.close();
        tracker.wait().await;
    }

    /// Decides now; what is returned tells the server.
    fn next_call(self: Arc<Self>, pod: Arc<PodInfo>, turn: usize) -> impl Future<Output = ()> + Send {
        let snapshot = self.cache.lock().snapshot();
        let decision = decide::decide(&pod, &snapshot, turn, &mut |n| rand::rng().random_range(0..n));
        match &decision {
            Decision::Node(node) => self.cache.lock().assume(&pod, node),
            Decision::None(diagnosis) => self.queue.refused(pod.uid(), diagnosis.refused_by),
        }
        async move {
            match decision {
                Decision::Node(node) => self.bind(&pod, &node).await,
                Decision::None(diagnosis) => self.report(&pod, &diagnosis).await,
            }
        }
    }
}
