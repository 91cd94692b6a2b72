//! The watches: from the API's events to the maps, in the order in which they came.
//!
//! ```text
//!  listing ──both lists complete──▶ replace all, attach ──▶ following: changes as they come
//!     ▲                                                        │ a change fails
//!     └──────────── after a pause, replace all ◀───────────────┘
//! ```
//! Events that are there together are applied together; nothing is waited for. Ends with `shutdown`, and leaves the
//! kernel as it is.

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use futures::{FutureExt, Stream, StreamExt, stream};
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher},
};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    Dataplane, Error, Handle, Object, Options,
    handle::{Progress, Shared},
    index::{Changes, Index, Seen},
    maps::Applied,
    objects::{ServiceObject, SliceObject},
    packet::{PacketOptions, Packets},
    plan::ExternalFrontend,
};

/// Events applied in one go at most: bounds how long the first of them waits.
const EVENTS_TOGETHER_MAX: usize = 4096;
/// Pause before everything is tried again after a failure; doubled up to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LONGEST: Duration = Duration::from_secs(30);
/// Between two slices of the table of flows: a full table is gone through in about a minute.
const COLLECT_EVERY: Duration = Duration::from_secs(1);

/// Services that another proxy takes care of, and headless ones, are not ours; the same labels are on their slices.
/// <https://kubernetes.io/docs/reference/labels-annotations-taints/#servicekubernetesioservice-proxy-name>
const OURS: &str = "!service.kubernetes.io/service-proxy-name,!service.kubernetes.io/headless";

/// What the data plane of a node is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node's name.
    pub node_name: String,
    /// The cgroup v2 folder whose processes' sockets are translated.
    pub cgroup_root: PathBuf,
    /// A mounted bpffs.
    pub bpffs: PathBuf,
    /// The compiled programs.
    pub object: Object,
    /// What the per-packet programs are told; without it they are not there.
    pub packets: Option<PacketOptions>,
}

/// Opens the maps, adopting what is pinned, and follows the API until `shutdown`. Returns as soon as the maps are open;
/// [`Handle::ready`] tells when they are right. Detaches nothing at the end: that is [`crate::remove_all`].
pub async fn run(client: Client, config: Config, shutdown: CancellationToken) -> Result<Handle, Error> {
    let options = Options {
        node: config.node_name.clone(),
        bpffs: config.bpffs,
        cgroup_root: config.cgroup_root,
        object: config.object,
        packets: config.packets,
    };
    let opened = tokio::task::spawn_blocking(move || Dataplane::open(&options)).await;
    let dataplane = opened.unwrap_or_else(|e| Err(Error::Task { reason: e.to_string() }))?;
    let (progress, _) = watch::channel(Progress::default());
    let shared = Arc::new(Shared { dataplane: Mutex::new(dataplane), progress });
    let follower = Follower {
        shared: shared.clone(),
        index: Index::new(&config.node_name),
        whole: false,
        attached: false,
        losses: Vec::new(),
        pause: PAUSE_FIRST,
    };
    let collector = shared.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = collect(collector) => {}
            () = follower.follow(events(&client)) => {}
        }
    });
    Ok(Handle { shared })
}

/// Takes idle flows out of the tables, slice by slice, for ever.
async fn collect(shared: Arc<Shared>) {
    let mut turns = tokio::time::interval(COLLECT_EVERY);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let step = |dataplane: &mut Dataplane| dataplane.packets().map(Packets::collect).transpose();
        if let Err(error) = shared.clone().blocking(step).await {
            tracing::warn!(error = %chain(&error), "idle flows were not looked for");
        }
    }
}

fn events(client: &Client) -> impl Stream<Item = Seen> + Send + Unpin + use<> {
    let config = || watcher::Config::default().labels(OURS);
    let services = watcher(Api::<ServiceObject>::all(client.clone()), config()).default_backoff();
    let slices = watcher(Api::<SliceObject>::all(client.clone()), config()).default_backoff();
    // The watcher itself tries again, with a backoff.
    let heard =
        |kind: &'static str| move |e: watcher::Error| tracing::warn!(kind, error = %e, "the watch failed");
    let services = services.filter_map(move |event| {
        std::future::ready(event.map(Seen::Service).map_err(heard("services")).ok())
    });
    let slices = slices.filter_map(move |event| {
        std::future::ready(event.map(Seen::Slice).map_err(heard("endpointslices")).ok())
    });
    Box::pin(stream::select(services, slices))
}

struct Follower {
    shared: Arc<Shared>,
    index: Index,
    /// The maps hold everything up to the last change: the next needs only what differs.
    whole: bool,
    attached: bool,
    /// Pods that slices give as ready no more, not yet told.
    losses: Vec<(Box<str>, i32)>,
    /// Before the next try, when the last failed.
    pause: Duration,
}

impl Follower {
    async fn follow(mut self, mut events: impl Stream<Item = Seen> + Unpin) {
        let mut failed = false;
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = tokio::time::sleep(self.pause), if failed => {
                    self.pause = (self.pause * 2).min(PAUSE_LONGEST);
                    failed = !self.bring_up_to_date().await;
                    continue;
                }
            };
            let Some(event) = event else { return };
            self.index.see(event);
            for _ in 1..EVENTS_TOGETHER_MAX {
                let Some(Some(event)) = events.next().now_or_never() else { break };
                self.index.see(event);
            }
            if self.index.complete() {
                failed = !self.bring_up_to_date().await;
            }
        }
    }

    /// Applies what changed; after a failure, everything. Whether it succeeded.
    async fn bring_up_to_date(&mut self) -> bool {
        self.announce();
        let done = self.apply().await;
        let error = done.as_ref().err().map(|e| chain(e));
        let succeeded = error.is_none();
        if let Some(error) = &error {
            self.whole = false;
            tracing::error!(%error, "the Services could not be brought up to date");
        } else {
            self.pause = PAUSE_FIRST;
        }
        let full = done.map(|applied| applied.full).unwrap_or_default();
        for full in &full {
            tracing::error!(%full, "a Service stays as it was");
        }
        self.publish(succeeded, error.or_else(|| full.first().map(ToString::to_string)));
        // They are tried again with the next change, which may make room.
        self.index.touch(full.iter().map(|full| full.frontend));
        succeeded
    }

    async fn apply(&mut self) -> Result<Applied, Error> {
        let shared = self.shared.clone();
        let applied = if self.whole {
            let changes = self.index.take_changes();
            if changes == Changes::default() {
                return Ok(Applied::default());
            }
            let change = move |dataplane: &mut Dataplane| {
                let applied = dataplane.change(&changes.gone, &changes.wanted)?;
                if let Some(external) = &changes.external {
                    replace_external(dataplane, external)?;
                }
                Ok(applied)
            };
            shared.blocking(change).await?
        } else {
            let (all, external) = self.index.take_all();
            let attach = !self.attached;
            let replace = move |dataplane: &mut Dataplane| {
                let applied = dataplane.replace(&all)?;
                replace_external(dataplane, &external)?;
                if attach {
                    let attached = dataplane.attach()?;
                    tracing::info!(
                        adopted = attached.adopted,
                        created = attached.created,
                        "programs attached"
                    );
                }
                Ok(applied)
            };
            shared.blocking(replace).await?
        };
        (self.whole, self.attached) = (true, true);
        Ok(applied)
    }

    /// Tells the handles which pods connections may reach from now on, before the maps send any there.
    fn announce(&mut self) {
        let (gains, losses): (Vec<_>, Vec<_>) =
            self.index.take_ready_deltas().into_iter().partition(|(_, delta)| *delta > 0);
        self.losses.extend(losses);
        self.shared.progress.send_if_modified(|progress| {
            count(&mut progress.ready_pods, gains);
            false
        });
    }

    /// Tells the handles how it went. That a pod is reached no more only when the maps follow: until then it stays to
    /// be told.
    fn publish(&mut self, succeeded: bool, error: Option<String>) {
        let losses = if succeeded { std::mem::take(&mut self.losses) } else { Vec::new() };
        let words = |((namespace, name), what): (&crate::index::Key, &Vec<crate::plan::Unprogrammed>)| {
            (namespace.to_string(), name.to_string(), what.iter().map(ToString::to_string).collect())
        };
        let unprogrammed: Option<Vec<_>> =
            self.index.take_unprogrammed().map(|all| all.iter().map(words).collect());
        self.shared.progress.send_modify(|progress| {
            progress.ready |= succeeded;
            progress.error = error;
            if let Some(unprogrammed) = unprogrammed {
                progress.unprogrammed = unprogrammed;
            }
            count(&mut progress.ready_pods, losses);
        });
    }
}

fn replace_external(dataplane: &mut Dataplane, external: &[ExternalFrontend]) -> Result<(), Error> {
    for frontend in dataplane.replace_external(external)? {
        tracing::error!(%frontend, "there is no room for it among what is reached from outside");
    }
    Ok(())
}

fn count(ready_pods: &mut HashMap<Box<str>, i32>, deltas: Vec<(Box<str>, i32)>) {
    for (uid, delta) in deltas {
        *ready_pods.entry(uid).or_default() += delta;
    }
    ready_pods.retain(|_, slices| *slices > 0);
}

/// An error with its causes, one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
