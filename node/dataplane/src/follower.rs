//! From events to the kernel, in the order in which they came.
//!
//! ```text
//!  listing ──all lists complete──▶ replace all, attach ──▶ following: changes as they come
//!     ▲                                                        │ a change fails
//!     └──────────── after a pause, replace all ◀───────────────┘
//! ```
//! Events that are there together are applied together; nothing is waited for, and what a change would have to wait for is waited
//! for beside, before it comes. What follows from a change once the maps
//! have it (health checks, sockets of dead backends, word to users) is done here too, and never makes a change fail.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use futures::{FutureExt, Stream, StreamExt};
use keelson_sys::sockets::{self, SocketsError, Transport};

use crate::{
    Error, Settling,
    handle::{Progress, Shared, blocking},
    health::{self, HealthServers},
    index::{Changes, Key, Notice, Seen},
    maps::{Applied, StaleUdp},
    notices::Notices,
    plan::{FrontendKey, NodePort, Protocol},
    resets::Resets,
};

/// Events applied in one go at most: bounds how long the first of them waits.
const EVENTS_TOGETHER_MAX: usize = 4096;
/// Pause before everything is tried again after a failure; doubled up to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LONGEST: Duration = Duration::from_secs(30);

/// What a follower works with.
pub(crate) struct Parts {
    pub(crate) shared: Arc<Shared>,
    pub(crate) notices: Notices,
    pub(crate) resets: Resets,
    pub(crate) health: HealthServers,
    pub(crate) health_state: Arc<health::State>,
    /// Whose processes' sockets are translated.
    pub(crate) cgroup_root: PathBuf,
}

pub(crate) struct Follower {
    parts: Parts,
    /// The maps hold everything up to the last change: the next needs only what differs.
    whole: bool,
    attached: bool,
    /// Pods that slices give as ready no more, not yet told.
    losses: Vec<(Box<str>, i32)>,
    /// Before the next try, when the last failed.
    pause: Duration,
}

/// What a change of the maps leaves to be done.
#[derive(Default)]
struct Done {
    applied: Applied,
    /// Frontends that nobody outside reaches, for want of room.
    full_external: Vec<FrontendKey>,
    /// Ports that are nobody's to bind from now on, and whose they are.
    new_ports: Vec<(NodePort, Key)>,
    stale: StaleUdp,
    /// Something rests that later changes may need.
    settling: Option<Settling>,
}

impl Follower {
    pub(crate) fn new(parts: Parts) -> Self {
        Self { parts, whole: false, attached: false, losses: Vec::new(), pause: PAUSE_FIRST }
    }

    pub(crate) async fn follow(mut self, mut events: impl Stream<Item = Seen> + Unpin) {
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
            self.parts.shared.index.lock().see(event);
            for _ in 1..EVENTS_TOGETHER_MAX {
                let Some(Some(event)) = events.next().now_or_never() else { break };
                self.parts.shared.index.lock().see(event);
            }
            if self.parts.shared.index.lock().complete() {
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
        self.parts.health_state.attempted(succeeded);
        let done = done.unwrap_or_default();
        if let Some(settling) = done.settling {
            tokio::task::spawn_blocking({
                let shared = self.parts.shared.clone();
                move || settle(&shared, settling)
            });
        }
        let full = done.applied.full;
        for full in &full {
            tracing::error!(%full, "a Service stays as it was");
        }
        for frontend in done.full_external {
            tracing::error!(%frontend, "there is no room for it among what is reached from outside");
        }
        self.publish(succeeded, error.or_else(|| full.first().map(ToString::to_string)));
        self.follow_up(done.new_ports, done.stale).await;
        // They are tried again with the next change, which may make room.
        self.parts.shared.index.lock().touch(full.iter().map(|full| full.frontend));
        succeeded
    }

    async fn apply(&mut self) -> Result<Done, Error> {
        let mut changes = {
            let mut index = self.parts.shared.index.lock();
            if self.whole { index.take_changes() } else { index.take_all() }
        };
        if self.whole && changes == Changes::default() {
            return Ok(Done::default());
        }
        let (whole, attach) = (self.whole, !self.attached);
        let departed = std::mem::take(&mut changes.departed);
        let shared = self.parts.shared.clone();
        let act = move || {
            shared.settle_epoch()?;
            let mut dataplane = shared.dataplane.lock();
            let ports = changes.node_ports;
            let new = ports.as_ref().map(|ports| dataplane.set_node_ports(ports.keys().copied()));
            let new = new.transpose()?.unwrap_or_default();
            let applied = if whole {
                dataplane.change(&changes.gone, &changes.wanted)?
            } else {
                dataplane.replace(&changes.wanted)?
            };
            let external = changes.external.map(|external| dataplane.replace_external(&external));
            if let Some((packets, addresses)) = dataplane.packets().zip(changes.announced.as_ref()) {
                packets.announce(addresses)?;
            }
            let full_external = external.transpose()?.unwrap_or_default();
            if attach {
                let attached = dataplane.attach()?;
                tracing::info!(adopted = attached.adopted, created = attached.created, "programs attached");
            }
            let stale = dataplane.take_stale_udp(&changes.serving_udp)?;
            let owner = |port: NodePort| Some((port, ports.as_ref()?.get(&port)?.clone()));
            let new_ports = new.into_iter().filter_map(owner).collect();
            Ok(Done { applied, full_external, new_ports, stale, settling: dataplane.begin_settling() })
        };
        let done = blocking(act).await?;
        (self.whole, self.attached) = (true, true);
        self.parts.resets.add(departed);
        Ok(done)
    }

    /// Tells the handles which pods connections may reach from now on, before the maps send any there.
    fn announce(&mut self) {
        let (gains, losses): (Vec<_>, Vec<_>) =
            self.parts.shared.index.lock().take_ready_deltas().into_iter().partition(|(_, delta)| *delta > 0);
        self.losses.extend(losses);
        self.parts.shared.progress.send_if_modified(|progress| {
            progress.gain(gains);
            false
        });
    }

    /// Tells the handles how it went. That a pod is reached no more only when the maps follow: until then it stays to
    /// be told.
    fn publish(&mut self, succeeded: bool, error: Option<String>) {
        let losses = if succeeded { std::mem::take(&mut self.losses) } else { Vec::new() };
        let unprogrammed = self.parts.shared.index.lock().take_unprogrammed().map(|all| {
            let told = all.into_iter().map(|((namespace, name), what)| {
                (namespace.to_string(), name.to_string(), what.iter().map(ToString::to_string).collect())
            });
            told.collect()
        });
        self.parts.shared.progress.send_modify(|progress: &mut Progress| {
            progress.ready |= succeeded;
            progress.error = error;
            if let Some(unprogrammed) = unprogrammed {
                progress.unprogrammed = unprogrammed;
            }
            progress.lose(losses);
        });
    }

    /// What is due once the maps have changed.
    async fn follow_up(&mut self, new_ports: Vec<(NodePort, Key)>, stale: StaleUdp) {
        self.parts.health_state.set_eligible(self.parts.shared.index.lock().eligible());
        let checks = self.parts.shared.index.lock().take_health_checks();
        if let Some(checks) = checks {
            for refused in self.parts.health.set(&checks).await {
                self.tell(&refused.service, "FailedToStartServiceHealthcheck", refused.to_string());
            }
        }
        let notices = self.parts.shared.index.lock().take_notices();
        for notice in notices {
            self.parts.notices.tell(notice);
        }
        self.end_stale(stale).await;
        self.look_for_binders(new_ports).await;
    }

    /// Wakes those that wait for a backend which does not serve any more.
    async fn end_stale(&self, stale: StaleUdp) {
        if stale.is_empty() {
            return;
        }
        let cgroup = self.parts.cgroup_root.clone();
        match off_workers(move || sockets::destroy(&cgroup, Transport::Udp, |socket| stale.names(socket)))
            .await
        {
            Some(Ok(ended)) => tracing::debug!(ended, "UDP sockets of backends that do not serve any more"),
            Some(Err(error)) => {
                let error = chain(&error);
                tracing::warn!(%error, "UDP clients of a backend that does not serve any more were not told");
            }
            None => {}
        }
    }

    /// A process that had a port before the Service keeps it, but whoever connects here reaches the Service.
    async fn look_for_binders(&self, new_ports: Vec<(NodePort, Key)>) {
        if new_ports.is_empty() {
            return;
        }
        let bound = match off_workers(sockets::bound_ports).await {
            Some(Ok(bound)) => bound,
            Some(Err(error @ SocketsError::Unsupported { .. })) => {
                return tracing::debug!(%error, "nobody knows whether node ports are bound already");
            }
            Some(Err(error)) => {
                return tracing::warn!(error = %chain(&error), "looking for processes that bound a node port");
            }
            None => return,
        };
        let mut taken: BTreeMap<Key, Vec<String>> = BTreeMap::new();
        for ((number, protocol), service) in new_ports {
            let transport = match protocol {
                Protocol::Tcp => Transport::Tcp,
                Protocol::Udp => Transport::Udp,
                // Its bind() passes no hook: such a port is never among these.
                Protocol::Sctp => continue,
            };
            if bound.contains(&(number, transport)) {
                taken.entry(service).or_default().push(format!("{number}/{protocol:?}"));
            }
        }
        for (service, ports) in taken {
            let note = format!(
                "a process of this node had node port {} before the Service: it hears only who comes from elsewhere",
                ports.join(", ")
            );
            tracing::warn!(namespace = %service.0, service = %service.1, "{note}");
            self.tell(&service, "NodePortInUse", note);
        }
    }

    fn tell(&self, service: &Key, reason: &'static str, note: String) {
        if let Some(about) = self.parts.shared.index.lock().subject(service) {
            self.parts.notices.tell(Notice { about, reason, note });
        }
    }
}

/// Waits in the place of changes to come, as long as there is something to wait for. Blocks.
fn settle(shared: &Shared, first: Settling) {
    let mut next = Some(first);
    while let Some(settling) = next {
        if let Err(error) = settling.wait() {
            return tracing::warn!(
                error = chain(&error),
                "changes of the maps will have to wait for themselves"
            );
        }
        let mut dataplane = shared.dataplane.lock();
        if let Err(error) = dataplane.settle(settling) {
            return tracing::warn!(
                error = chain(&error),
                "lines of Services that changed could not be taken back yet"
            );
        }
        next = dataplane.begin_settling();
    }
}

/// On a thread that may block; `None`, which is logged, if it panicked.
pub(crate) async fn off_workers<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let done = tokio::task::spawn_blocking(act).await;
    done.inspect_err(|error| tracing::error!(%error, "a task that asked about sockets ended")).ok()
}

/// An error with its causes, one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
