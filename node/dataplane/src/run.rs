//! What starts the data plane: configuration, the open maps, the watches whose events [`Follower`] follows.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use futures::{Stream, StreamExt, stream};
use ipnet::IpNet;
use keelson_sys::net::{address_changes, own_addresses};
use kube::{Api, Client, Resource, runtime::watcher};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    Dataplane, Error, Handle, Object, Options, PortAddresses, Talk,
    flows::Reader,
    follower::{Follower, Parts, chain},
    handle::{PolicyStatus, Progress, Shared},
    health::{self, HealthServers},
    index::{Index, Notice, Seen, Subject},
    notices::Notices,
    objects::{NodeObject, PodObject, ServiceObject, SliceObject},
    packet::{PacketOptions, Packets},
    plan::Node,
    policy::{self, Question, Questions},
    port_addresses::with_loopback,
    resets::Resets,
};

/// How often the totals are looked after. What a daemon that is killed has not written down is taken for that of whoever has
/// the address when the next one comes.
const TOTALS_KEPT_EVERY: Duration = Duration::from_secs(10);
/// Between two slices of the table of connections: a full table is gone through in about a minute.
const COLLECT_EVERY: Duration = Duration::from_secs(1);

/// Services that another proxy takes care of, and headless ones, are not ours; the same labels are on their slices.
/// <https://kubernetes.io/docs/reference/labels-annotations-taints/#servicekubernetesioservice-proxy-name>
const OURS: &str = "!service.kubernetes.io/service-proxy-name,!service.kubernetes.io/headless";

/// What the data plane of a node is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node's name.
    pub node_name: String,
    /// Addresses that it is known by, the primary one of each family first.
    pub node_ips: Vec<IpAddr>,
    /// Networks of its pods, as far as its Node object does not tell them.
    pub pod_cidrs: Vec<IpNet>,
    /// Where its node ports are reached.
    pub port_addresses: PortAddresses,
    /// Where to answer `/healthz` and `/livez` as kube-proxy does; `None`: nowhere.
    pub healthz: Option<SocketAddr>,
    /// The cgroup v2 folder whose processes' sockets are translated.
    pub cgroup_root: PathBuf,
    /// A mounted bpffs.
    pub bpffs: PathBuf,
    /// The compiled programs.
    pub object: Object,
    /// What the per-packet programs are told; without it they are not there.
    pub packets: Option<PacketOptions>,
    /// Whether connections are measured.
    pub measure: bool,
    /// Whether the programs say what they decide.
    pub talk: Talk,
    /// Whether host ports of the node's pods are served; asks for the right to list them.
    pub host_ports: bool,
    /// Whether network policies are this daemon's to enforce: not where the network of the pods is another's.
    pub policies: bool,
}

/// Opens the maps, adopting what is pinned, and follows the API until `shutdown`. Returns as soon as the maps are open;
/// [`Handle::ready`] tells when they are right. Detaches nothing at the end: that is [`crate::remove_all`].
///
/// Sockets of the network namespace that this is called in count as the node's own.
pub async fn run(client: Client, config: Config, shutdown: CancellationToken) -> Result<Handle, Error> {
    let options = Options {
        node: config.node_name.clone(),
        bpffs: config.bpffs.clone(),
        cgroup_root: config.cgroup_root.clone(),
        object: config.object.clone(),
        packets: config.packets.clone(),
        measure: config.measure,
        talk: config.talk,
    };
    let opened = tokio::task::spawn_blocking(move || Dataplane::open(&options)).await;
    let dataplane = opened.unwrap_or_else(|e| Err(Error::Task { reason: e.to_string() }))?;
    let (progress, _) = watch::channel(Progress::default());
    let (questions, asked) = Questions::new();
    let addresses = config.resolve_ports()?;
    let shared = Arc::new(Shared {
        meter: Arc::new(Mutex::new(dataplane.meter()?)),
        dataplane: Mutex::new(dataplane),
        index: Mutex::new(Index::new(&config.node_name, config.node(addresses.clone()), config.host_ports)),
        reader: Reader::default(),
        progress,
        questions,
    });
    // Whoever listened to the stream is gone with his daemon.
    shared.meter.lock().sample(0)?;
    shared.recall()?;
    let state = Arc::new(health::State::default());
    let listen_at = if config.port_addresses == PortAddresses::Node { Vec::new() } else { addresses.clone() };
    let health = HealthServers::start(state.clone(), config.healthz, listen_at);
    let resets = Resets::default();
    let notices = Notices::start(client.clone(), &config.node_name);
    follow_policies(&client, &config, &shared, (notices.clone(), asked), shutdown.clone()).await?;
    let follower = Follower::new(Parts {
        resets: resets.clone(),
        shared: shared.clone(),
        notices,
        cgroup_root: config.cgroup_root.clone(),
        health_state: state,
        health,
    });
    let events = config.events(&client)?;
    let (keeper, collector) = (shared.clone(), shared.clone());
    let resetting = resets.run(shared.clone(), config.cgroup_root.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = follower.follow(events) => {}
            () = keep_totals(keeper) => {}
            () = collect(collector) => {}
            () = resetting => {}
        }
    });
    Ok(Handle { shared })
}

/// Network policies are the per-packet programs' to enforce: without those, users are told that nobody does.
async fn follow_policies(
    client: &Client,
    config: &Config,
    shared: &Arc<Shared>,
    (notices, asked): (Notices, mpsc::Receiver<Question>),
    shutdown: CancellationToken,
) -> Result<(), Error> {
    if !config.policies {
        return Ok(());
    }
    if config.packets.is_none() {
        let (key, uid) =
            ((Box::default(), config.node_name.as_str().into()), config.node_name.as_str().into());
        let note = "network policies are not enforced on this node, nor is the annotation keelson.dev/socket-lb heeded: it runs --without packets"
            .to_owned();
        tracing::warn!("{note}");
        let about = Subject { kind: "Node", key, uid };
        notices.tell(Notice { about, reason: "NetworkPolicyNotEnforced", note });
        return Ok(());
    }
    let enforce = |dataplane: &mut Dataplane| dataplane.packets().map_or(Ok(()), Packets::enforce_policies);
    shared.clone().blocking(enforce).await?;
    shared.progress.send_modify(|progress| progress.policies = Some(PolicyStatus::default()));
    let follower = policy::Follower::new(shared.clone(), notices, &config.node_name);
    let events = policy::events(client);
    tokio::spawn(async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = follower.follow(events, asked) => {}
        }
    });
    Ok(())
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

/// Takes idle connections out of the per-packet programs' tables, slice by slice, for ever.
async fn collect(shared: Arc<Shared>) {
    let mut turns = tokio::time::interval(COLLECT_EVERY);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let step = |dataplane: &mut Dataplane| dataplane.packets().map(Packets::collect).transpose();
        if let Err(error) = shared.clone().blocking(step).await {
            tracing::warn!(error = chain(&error), "idle connections were not looked for");
        }
    }
}

impl Config {
    fn node(&self, port_addresses: Vec<IpAddr>) -> Node {
        let addresses = with_loopback(&self.node_ips).collect();
        Node { zone: None, addresses, port_addresses, clients: self.clients() }
    }

    /// Addresses of those whose sockets are translated.
    fn clients(&self) -> Vec<IpNet> {
        let own = self.node_ips.iter().map(|&ip| IpNet::from(ip));
        self.pod_cidrs.iter().copied().chain(own).collect()
    }

    fn resolve_ports(&self) -> Result<Vec<IpAddr>, Error> {
        let links = match self.port_addresses {
            PortAddresses::Within(_) => own_addresses().map_err(|source| Error::Addresses { source })?,
            PortAddresses::Node | PortAddresses::Primary => Vec::new(),
        };
        Ok(self.port_addresses.resolve(&self.node_ips, &links))
    }

    fn events(&self, client: &Client) -> Result<impl Stream<Item = Seen> + Send + Unpin + use<>, Error> {
        let nodes = if self.packets.as_ref().is_some_and(|packets| packets.announce) {
            watcher::Config::default()
        } else {
            watcher::Config::default().fields(&format!("metadata.name={}", self.node_name))
        };
        let ours = || watcher::Config::default().labels(OURS);
        let here = watcher::Config::default().fields(&format!("spec.nodeName={}", self.node_name));
        let pods = match self.host_ports {
            true => watched::<PodObject, _>(client, here, "pods", Seen::Pod).left_stream(),
            false => stream::pending().right_stream(),
        };
        let watches = stream::select(
            stream::select(
                watched::<ServiceObject, _>(client, ours(), "services", Seen::Service),
                watched::<SliceObject, _>(client, ours(), "endpointslices", Seen::Slice),
            ),
            watched::<NodeObject, _>(client, nodes, "nodes", Seen::Node),
        );
        Ok(Box::pin(stream::select(stream::select(watches, pods), self.address_events()?)))
    }

    /// The node's addresses, where they are not given but found.
    fn address_events(&self) -> Result<impl Stream<Item = Seen> + Send + Unpin + use<>, Error> {
        if !matches!(self.port_addresses, PortAddresses::Within(_)) {
            return Ok(stream::pending().right_stream());
        }
        let config = self.clone();
        let changes = address_changes().map_err(|source| Error::AddressChanges { source })?;
        let found = changes.filter_map(move |()| {
            let found = config.resolve_ports();
            let told = found.map_err(|error| tracing::warn!(%error, "node ports stay where they were"));
            std::future::ready(told.ok().map(Seen::PortAddresses))
        });
        Ok(found.left_stream())
    }
}

/// A watch, tried again with a backoff for as long as the process lives.
pub(crate) fn watched<K, T>(
    client: &Client,
    config: watcher::Config,
    plural: &'static str,
    wrap: fn(watcher::Event<K>) -> T,
) -> impl Stream<Item = T> + Send + Unpin + use<K, T>
where
    T: Send + 'static,
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    let events = keelson_watch::watch(Api::<K>::all(client.clone()), config);
    let heard = move |error| tracing::warn!(plural, %error, "the watch failed");
    Box::pin(events.filter_map(move |event| std::future::ready(event.map(wrap).map_err(heard).ok())))
}
