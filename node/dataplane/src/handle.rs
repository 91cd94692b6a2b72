//! What the rest of the node daemon asks the data plane.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use keelson_ebpf_common::policy::Direction;
use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

use crate::{
    Dataplane, Error, MapStatus,
    flows::{Figures, Flows, Meter, Pair, PortName, Reader},
    index::Index,
    packet::{Packets, Path, PodEndpoint, TunnelDevice},
    plan::{Frontend, FrontendKey},
    policy::{Connection, PodKey, Questions, Selecting},
    socket_lb::Wishes,
};

/// How long a new pod's network waits until its annotations and the network policies about it are known and applied.
const SETTLED_WITHIN: Duration = Duration::from_secs(5);
/// Pods of this node that are remembered after they went, so that nobody waits for them: more than start at a time.
const DEPARTED_MAX: usize = 512;
/// Other nodes get an event when this one does, but nobody tells when their maps have followed: a busy node's daemon waits for its
/// turn so long at most.
const OTHERS_FOLLOW_WITHIN: Duration = Duration::from_millis(100);

/// The running data plane. Cheap to clone; dropping it stops nothing.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) shared: Arc<Shared>,
}

/// The data plane as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// The maps follow the API and the programs are attached.
    pub ready: bool,
    /// Why the last change could not be made; `None` when it was.
    pub error: Option<String>,
    /// The maps.
    pub maps: MapStatus,
    /// What Services ask for and do not get: namespace, name, and what, in words.
    pub unprogrammed: Vec<(String, String, Vec<String>)>,
    /// Network policies; `None` where they are not enforced, as there are no per-packet programs.
    pub policies: Option<PolicyStatus>,
}

/// Network policies as they are on this node.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PolicyStatus {
    /// The maps follow the API. Before, pods are as an earlier daemon left them, and new ones are closed.
    pub ready: bool,
    /// Why the last change could not be made; `None` when it was.
    pub error: Option<String>,
    /// Policies in the cluster.
    pub policies: usize,
    /// What pods of this node may do, each once.
    pub groups: usize,
    /// Selectors and blocks of addresses that those name.
    pub peers: usize,
    /// Different sets of those that addresses belong to.
    pub classes: usize,
    /// Addresses and ranges of addresses that belong to any.
    pub addresses: usize,
    /// Entries that let pass.
    pub verdicts: usize,
    /// What there is no room for, in words.
    pub without_room: Vec<String>,
}

/// What was measured of all Services.
#[derive(Clone, Debug, Default)]
pub struct ServiceFigures {
    /// Of each Service port that is there now, by frontend and backend.
    pub pairs: Vec<(PortName, Pair, Figures)>,
    /// Of connections for which the table of totals had no room.
    pub other: Figures,
    /// Rows of the table in use.
    pub rows: usize,
}

/// What the kernel would do with a connection to a Service, and why.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// Each frontend of the Service, with what the kernel holds for it; `None`: not programmed.
    pub frontends: Vec<(FrontendKey, PortName, Option<Frontend>)>,
    /// What it asks for and does not get, in words.
    pub unprogrammed: Vec<String>,
}

/// What the follower tells its handles.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) dataplane: Mutex<Dataplane>,
    /// Locked before the data plane and the meter, where both are.
    pub(crate) index: Mutex<Index>,
    pub(crate) meter: Arc<Mutex<Meter>>,
    pub(crate) reader: Reader,
    pub(crate) progress: watch::Sender<Progress>,
    /// To whoever follows network policies.
    pub(crate) questions: Questions,
}

/// What has come true in the kernel.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The first whole list is in the maps and the programs are attached.
    pub(crate) ready: bool,
    pub(crate) error: Option<String>,
    pub(crate) unprogrammed: Vec<(String, String, Vec<String>)>,
    /// In how many slices each pod of this node is ready, or was when the maps last followed.
    pub(crate) ready_pods: HashMap<Box<str>, i32>,
    /// When pods left those, as long as it matters.
    left: HashMap<Box<str>, Instant>,
    /// Network policies; `None` where they are not enforced.
    pub(crate) policies: Option<PolicyStatus>,
    /// Pods of this node to which policies apply as they are to, by uid.
    pub(crate) policed_pods: HashMap<PodKey, Box<str>>,
    /// Those that went.
    pub(crate) departed_pods: Departed,
    /// Whose sockets are to be left alone; never older than `policed_pods`.
    pub(crate) wishes: Wishes,
}

/// Uids of the pods of this node that were deleted last, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Departed(VecDeque<Box<str>>);

impl Departed {
    pub(crate) fn add(&mut self, uids: Vec<Box<str>>) {
        self.0.extend(uids);
        let surplus = self.0.len().saturating_sub(DEPARTED_MAX);
        self.0.drain(..surplus);
    }
}

impl Progress {
    /// These pods are each in one slice more.
    pub(crate) fn gain(&mut self, gains: Vec<(Box<str>, i32)>) {
        count(&mut self.ready_pods, gains);
    }

    /// These pods are each in one slice less, and the maps have followed.
    pub(crate) fn lose(&mut self, losses: Vec<(Box<str>, i32)>) {
        self.left.retain(|_, left| left.elapsed() < OTHERS_FOLLOW_WITHIN);
        let uids: Vec<Box<str>> = losses.iter().map(|(uid, _)| uid.clone()).collect();
        count(&mut self.ready_pods, losses);
        let gone = uids.into_iter().filter(|uid| !self.ready_pods.contains_key(uid));
        self.left.extend(gone.map(|uid| (uid, Instant::now())));
    }

    /// Nothing more is to come for a new pod: its policies are applied, or it is gone before it began.
    pub(crate) fn settled(&self, key: &PodKey, uid: &str) -> bool {
        self.policed_pods.get(key).is_some_and(|policed| &**policed == uid)
            || self.departed_pods.0.iter().any(|departed| &**departed == uid)
    }
}

impl Handle {
    /// Resolves when the maps hold what the API says and the programs are attached.
    pub async fn ready(&self) {
        self.wait(|progress| progress.ready).await;
    }

    /// Resolves when no slice gives this pod of this node as ready any more and the maps follow, those of other nodes, too, as
    /// far as time tells: new connections go elsewhere (or there is nowhere else). At once for a pod in no slice. The caller
    /// bounds the time.
    pub async fn endpoint_terminating(&self, pod_uid: &str) {
        let mut left = None;
        self.wait(|progress| {
            left = progress.left.get(pod_uid).copied();
            progress.ready && !progress.ready_pods.contains_key(pod_uid)
        })
        .await;
        if let Some(left) = left {
            tokio::time::sleep_until(left + OTHERS_FOLLOW_WITHIN).await;
        }
    }

    /// Reads the status, sizes and counters from the kernel.
    pub async fn status(&self) -> Result<Status, Error> {
        let maps = self.shared.clone().blocking(|dataplane| dataplane.status()).await?;
        let progress = self.shared.progress.borrow();
        Ok(Status {
            ready: progress.ready,
            error: progress.error.clone(),
            maps,
            unprogrammed: progress.unprogrammed.clone(),
            policies: progress.policies.clone(),
        })
    }

    /// Reads what was measured, from the kernel.
    pub async fn services(&self) -> Result<ServiceFigures, Error> {
        let shared = self.shared.clone();
        blocking(move || shared.measured()).await
    }

    /// The stream of events from now on.
    pub fn flows(&self) -> Result<Flows, Error> {
        let ring = self.shared.dataplane.lock().ring()?;
        self.shared.reader.join(&ring, &self.shared.meter)
    }

    /// Whose a frontend is; `None` when it is nobody's any more.
    pub fn port_name(&self, frontend: &FrontendKey) -> Option<PortName> {
        self.shared.index.lock().port_name(frontend)
    }

    /// What the kernel holds for a Service; `None` when this node knows of no such Service.
    pub fn trace(&self, namespace: &str, name: &str) -> Option<Trace> {
        let index = self.shared.index.lock();
        let (keys, unprogrammed) = index.service(namespace, name)?;
        let dataplane = self.shared.dataplane.lock();
        let frontends = keys
            .into_iter()
            .map(|key| (key, index.port_name(&key).unwrap_or_default(), dataplane.frontend(&key)))
            .collect();
        Some(Trace { frontends, unprogrammed })
    }

    /// What this node would do with a connection between two pods; `None` without per-packet programs, where the host's stack
    /// forwards and no policy is enforced.
    pub async fn path(&self, connection: Connection) -> Result<Option<Path>, Error> {
        let look =
            move |dataplane: &mut Dataplane| dataplane.packets().map(|p| p.path(&connection)).transpose();
        self.shared.clone().blocking(look).await
    }

    /// Network policies that have a say about a connection of a pod of this node; `None` where the pod is not known, or policies
    /// are not followed.
    pub async fn policies_about(&self, connection: Connection, direction: Direction) -> Option<Selecting> {
        self.shared.questions.ask(connection, direction).await
    }

    /// A pod has its link: its packets take the short way from now on. Nothing without per-packet programs.
    ///
    /// It is closed until network policies are applied to it: [`Handle::policed`].
    pub async fn add_endpoint(&self, pod: PodEndpoint) -> Result<(), Error> {
        self.packets(move |packets| packets.add_endpoint(&pod)).await
    }

    /// Waits until what the API says of a new pod is known and applied, or it is gone. Whether that was so in time.
    pub(crate) async fn settled(&self, key: &PodKey, uid: &str) -> bool {
        let settled = self.wait(|progress| progress.settled(key, uid));
        tokio::time::timeout(SETTLED_WITHIN, settled).await.is_ok()
    }

    /// Waits until network policies are applied to a new pod, or it is gone. When that takes too long it stays closed until
    /// then. At once while there is no policy, as nothing applies to it then.
    pub async fn policed(&self, namespace: &str, name: &str, uid: &str) {
        let may_apply = |status: &PolicyStatus| !(status.ready && status.policies == 0);
        if uid.is_empty() || !self.shared.progress.borrow().policies.as_ref().is_some_and(may_apply) {
            return;
        }
        let key: PodKey = (namespace.into(), name.into());
        if !self.settled(&key, uid).await {
            tracing::warn!(
                namespace,
                pod = name,
                "network policies were not applied to the pod in time; until they are, only its node reaches it"
            );
        }
    }

    /// A pod's link is about to be removed.
    pub async fn remove_endpoint(&self, pod: PodEndpoint) -> Result<(), Error> {
        self.packets(move |packets| packets.remove_endpoint(&pod)).await
    }

    /// Exactly these pods have links.
    pub async fn replace_endpoints(&self, pods: Vec<PodEndpoint>) -> Result<(), Error> {
        self.packets(move |packets| packets.replace_endpoints(&pods)).await
    }

    /// The pod that gets this link may send so fast out of the node, whose uplink keeps times of departure. Before [`Self::add_endpoint`],
    /// once.
    pub async fn pace(&self, link: String, bytes_per_s: u64) -> Result<(), Error> {
        self.packets(move |packets| packets.pace(&link, bytes_per_s)).await
    }

    /// Devices that lead to other nodes through something that wraps packets are exactly these. One that is left out may go.
    pub async fn set_tunnels(&self, devices: Vec<TunnelDevice>) -> Result<(), Error> {
        self.packets(move |packets| packets.set_tunnels(&devices)).await
    }

    pub(crate) async fn packets(
        &self,
        act: impl FnOnce(&mut Packets) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        self.shared.clone().blocking(|dataplane| dataplane.packets().map_or(Ok(()), act)).await
    }

    async fn wait(&self, reached: impl FnMut(&Progress) -> bool) {
        // The sender lives in `shared`, which we hold: the channel cannot close.
        let _ = self.shared.progress.subscribe().wait_for(reached).await;
    }
}

impl Shared {
    /// Reads the totals, writes down whose they are, and makes room among them.
    pub(crate) fn measured(&self) -> Result<ServiceFigures, Error> {
        let reading = self.meter.lock().read()?;
        let index = self.index.lock();
        let owned =
            |frontend: &FrontendKey, epoch: u32, stamp: Option<u64>| index.owner_in(frontend, epoch, stamp);
        let snapshot = reading.snapshot(owned);
        {
            let (dataplane, meter) = (self.dataplane.lock(), self.meter.lock());
            meter.stamp(&reading, owned)?;
            let is_backend = |frontend: &FrontendKey, backend: &std::net::SocketAddr| {
                dataplane.frontend(frontend).is_some_and(|f| f.backends.contains(backend))
            };
            let gone = meter.tidy(&reading, owned, is_backend)?;
            if gone > 0 {
                tracing::info!(gone, "summed up the totals of backends that are gone");
            }
        }
        let named =
            |(pair, figures): (Pair, Figures)| Some((index.port_name(&pair.frontend)?, pair, figures));
        let pairs = snapshot.pairs.into_iter().filter_map(named).collect();
        Ok(ServiceFigures { pairs, other: snapshot.other, rows: snapshot.rows })
    }

    /// Begins an epoch if an address passes from one Service to another; before the maps follow.
    pub(crate) fn settle_epoch(&self) -> Result<(), Error> {
        let mut index = self.index.lock();
        if !index.tenure.needs_epoch() {
            return Ok(());
        }
        let mut meter = self.meter.lock();
        let ends = meter.epoch()?;
        for (frontend, owner) in index.tenure.former_owners() {
            meter.keep(frontend, ends, *owner)?;
        }
        let epoch = meter.begin_epoch()?;
        index.tenure.begin(epoch);
        Ok(())
    }

    /// What an earlier daemon wrote of whose the frontends were; before the first list is planned.
    pub(crate) fn recall(&self) -> Result<(), Error> {
        let (mut index, mut meter) = (self.index.lock(), self.meter.lock());
        let (epoch, reading) = (meter.epoch()?, meter.read()?);
        reading.stamps(epoch).for_each(|(frontend, owner)| index.tenure.recall(frontend, owner));
        Ok(())
    }

    /// Does something to the maps on a thread that may block.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: Arc<Self>,
        act: impl FnOnce(&mut Dataplane) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        blocking(move || act(&mut self.dataplane.lock())).await
    }
}

/// Does something on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(act).await;
    done.unwrap_or_else(|e| Err(Error::Task { reason: e.to_string() }))
}

fn count(ready_pods: &mut HashMap<Box<str>, i32>, deltas: Vec<(Box<str>, i32)>) {
    for (uid, delta) in deltas {
        *ready_pods.entry(uid).or_default() += delta;
    }
    ready_pods.retain(|_, slices| *slices > 0);
}
