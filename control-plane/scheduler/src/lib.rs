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
mod metrics;
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
use metrics::{Attempt, Attempts, Levels, Outcome};
use parking_lot::Mutex;
use queue::PodQueue;
use rand::Rng;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};
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
    /// Told whether all that there is has been seen.
    pub handler_sync: HandlerSync,
}

/// Whether a scheduler at work has seen all that there is. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct HandlerSync(Arc<AtomicBool>);

impl HandlerSync {
    /// Upstream's check `sched-handler-sync`; a copy that does not lead has nothing to see yet.
    ///
    /// # Errors
    /// In upstream's words.
    pub fn check(&self) -> Result<(), String> {
        match self.0.load(Ordering::Acquire) {
            true => Err("handlers are not fully synchronized".to_owned()),
            false => Ok(()),
        }
    }

    fn is_behind(&self, behind: bool) {
        self.0.store(behind, Ordering::Release);
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            scheduler_name: "default-scheduler".to_owned(),
            leader_election: None,
            handler_sync: HandlerSync::default(),
        }
    }
}

pub(crate) struct Scheduler {
    api: Api,
    config: Config,
    recorder: Recorder,
    pods: Arc<Informer<Pod>>,
    cache: Mutex<Cache>,
    queue: PodQueue,
    attempts: Attempts,
}

/// Schedules until `shutdown`, with informers of its own.
pub async fn run(client: kube::Client, config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let api = Api::new(client);
    let informers = Informers::new(&api, &shutdown);
    run_with(api, informers, config, shutdown).await
}

/// Schedules on informers that other components of the process share.
pub async fn run_with(
    api: Api,
    informers: Arc<Informers>,
    config: Config,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
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
    let sync = config.handler_sync.clone();
    sync.is_behind(true);
    let (pods, nodes, namespaces) = (informers.pods(), informers.nodes(), informers.namespaces());
    let recorder = Recorder::start(api.clone(), "default-scheduler", shutdown.clone());
    let (cache, queue) = (Mutex::default(), PodQueue::default());
    let attempts = Attempts::of(&config.scheduler_name);
    let this = Arc::new(Scheduler { api, config, recorder, pods: pods.clone(), cache, queue, attempts });
    metrics::watch(&this);
    let me = this.clone();
    namespaces.subscribe(&shutdown, move |change| {
        let labels = change.new.as_ref().map(|n| n.metadata.labels.clone());
        me.cache.lock().set_namespace(&change.latest().metadata.name, labels);
    });
    let me = this.clone();
    nodes.subscribe(&shutdown, move |change| me.node_changed(change));
    let me = this.clone();
    pods.subscribe(&shutdown, move |change| me.pod_changed(change));
    let all = nodes.synced().await && namespaces.synced().await && pods.synced().await;
    sync.is_behind(false);
    if all {
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
        let began = Instant::now();
        let snapshot = self.cache.lock().snapshot();
        let decision = decide::decide(&pod, &snapshot, turn, &mut |n| rand::rng().random_range(0..n));
        metrics::decided(began.elapsed());
        let attempt = Attempt { began, history: self.queue.history(pod.uid()) };
        match &decision {
            Decision::Node(node) => self.cache.lock().assume(&pod, node),
            Decision::None(diagnosis) => {
                self.attempts.ended(Outcome::Unschedulable, began);
                self.queue.refused(pod.uid(), diagnosis.refused_by);
            }
        }
        async move {
            match decision {
                Decision::Node(node) => self.bind(&pod, &node, &attempt).await,
                Decision::None(diagnosis) => self.report(&pod, &diagnosis).await,
            }
        }
    }
}

impl metrics::Measured for Scheduler {
    fn levels(&self) -> Levels {
        self.queue.levels()
    }

    fn gated(&self) -> usize {
        let is_gated = |pod: &Pod| {
            pod.node_name.is_empty()
                && pod.is_active()
                && pod.spec.scheduler_name == self.config.scheduler_name
                && !pod.spec.scheduling_gates.is_empty()
        };
        self.pods.all().iter().filter(|pod| is_gated(pod)).count()
    }

    fn cache(&self) -> [usize; 3] {
        self.cache.lock().sizes()
    }

    fn profile(&self) -> &str {
        &self.config.scheduler_name
    }
}
