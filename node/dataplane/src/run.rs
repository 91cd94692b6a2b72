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
    flows::Reader,
    handle::{Progress, Shared},
    index::{Index, Seen},
    maps::Applied,
    objects::{ServiceObject, SliceObject},
};

/// Events applied in one go at most: bounds how long the first of them waits.
const EVENTS_TOGETHER_MAX: usize = 4096;
/// Pause before everything is tried again after a failure; doubled up to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LONGEST: Duration = Duration::from_secs(30);

/// How often the totals are looked after. What a daemon that is killed has not written down is taken for that of whoever has
/// the address when the next one comes.
const TOTALS_KEPT_EVERY: Duration = Duration::from_secs(10);

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
    /// Whether connections are measured.
    pub measure: bool,
}

/// Opens the maps, adopting what is pinned, and follows the API until `shutdown`. Returns as soon as the maps are open;
/// [`Handle::ready`] tells when they are right. Detaches nothing at the end: that is [`crate::remove_all`].
pub async fn run(client: Client, config: Config, shutdown: CancellationToken) -> Result<Handle, Error> {
    let options = Options {
        node: config.node_name.clone(),
        bpffs: config.bpffs,
        cgroup_root: config.cgroup_root,
        object: config.object,
        measure: config.measure,
    };
    let opened = tokio::task::spawn_blocking(move || Dataplane::open(&options)).await;
    let dataplane = opened.unwrap_or_else(|e| Err(Error::Task { reason: e.to_string() }))?;
    let (progress, _) = watch::channel(Progress::default());
    let shared = Arc::new(Shared {
        meter: Arc::new(Mutex::new(dataplane.meter()?)),
        dataplane: Mutex::new(dataplane),
        index: Mutex::new(Index::new(&config.node_name)),
        reader: Reader::default(),
        progress,
    });
    // Whoever listened to the stream is gone with his daemon.
    shared.meter.lock().sample(0)?;
    shared.recall()?;
    let follower = Follower {
        shared: shared.clone(),
        whole: false,
        attached: false,
        losses: Vec::new(),
        pause: PAUSE_FIRST,
    };
    let keeper = shared.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = follower.follow(events(&client)) => {}
            () = keep_totals(keeper) => {}
        }
    });
    Ok(Handle { shared })
}

/// Whose totals they are is written down, and room made among them, whether anybody asks for them or not.
async fn keep_totals(shared: Arc<Shared>) {
    let handle = Handle { shared };
    loop {
        tokio::time::sleep(TOTALS_KEPT_EVERY).await;
        if let Err(error) = handle.services().await {
            tracing::warn!(error = chain(&error), "the totals of Services could not be read");
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
            self.shared.index.lock().see(event);
            for _ in 1..EVENTS_TOGETHER_MAX {
                let Some(Some(event)) = events.next().now_or_never() else { break };
                self.shared.index.lock().see(event);
            }
            if self.complete() {
                failed = !self.bring_up_to_date().await;
            }
        }
    }

    fn complete(&self) -> bool {
        self.shared.index.lock().complete()
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
        self.shared.index.lock().touch(full.iter().map(|full| full.frontend));
        succeeded
    }

    async fn apply(&mut self) -> Result<Applied, Error> {
        let shared = self.shared.clone();
        let applied = if self.whole {
            let changes = self.shared.index.lock().take_changes();
            if changes.gone.is_empty() && changes.wanted.is_empty() {
                return Ok(Applied::default());
            }
            shared.settle_epoch()?;
            shared.blocking(move |dataplane| dataplane.change(&changes.gone, &changes.wanted)).await?
        } else {
            let all = self.shared.index.lock().take_all();
            shared.settle_epoch()?;
            let attach = !self.attached;
            let replace = move |dataplane: &mut Dataplane| {
                let applied = dataplane.replace(&all)?;
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
            self.shared.index.lock().take_ready_deltas().into_iter().partition(|(_, delta)| *delta > 0);
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
            self.shared.index.lock().take_unprogrammed().map(|all| all.iter().map(words).collect());
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
