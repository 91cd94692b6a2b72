//! The controllers: each a folder with a pure plan and a small executor, all on one harness and one set of informers.
//!
//! | folder | keeps true |
//! |---|---|
//! | `deployment` | the newest template is rolled out within its bounds; history and conditions |
//! | `replicaset` | as many active pods as wanted, of a ReplicaSet or a ReplicationController |
//! | `endpointslice` | slices name a Service's pods and what they can take |
//! | `endpointslicemirroring` | slices show the Endpoints that users keep |
//! | `endpoints` | the form before slices, for clients that read it |
//! | `namespace` | a namespace that goes is empty first |
//! | `serviceaccount`, `rootca` | each namespace has the account and the certificate that pods need |
//! | `garbage` | what lost its owners goes; foreground and orphaning deletion |
//! | `loadbalancer` | Services of that type have addresses of the configured pools |
//! | `nodeipam` | each node has a range of pod addresses |
//! | `nodelifecycle`, `tainteviction`, `podgc` | silent nodes are seen, their pods replaced |
//! | `clusterrole` | aggregated roles have their rules |
//! | `certificates` | nodes' certificate requests are approved, approved ones signed, old ones removed |
//! | `bootstraptokens` | bootstrap tokens end, and sign what the cluster says of itself in public |
//! | `resourcequota` | what a quota says is used is what is there |
//! | `pvc` | an unbound claim says what is missing |
//! | `storageprotection` | claims, volumes and attribute classes stay while they are in use |
//!
//! They speak only the Kubernetes API, with the rights of the identity that the client carries.
#![forbid(unsafe_code)]

mod bootstraptokens;
mod certificates;
mod claim;
mod clusterrole;
mod condition;
mod deployment;
mod endpoints;
mod endpointslice;
mod endpointslicemirroring;
mod garbage;
mod loadbalancer;
mod namespace;
mod nodeipam;
mod nodelifecycle;
mod podgc;
mod pvc;
mod replicaset;
mod resourcequota;
mod rootca;
mod serviceaccount;
mod shared;
mod storageprotection;
mod tainteviction;

pub use loadbalancer::{NotAPool, Pool};
pub use nodeipam::{ClusterRange, ClusterRangeError, NodeIpam};

use keelson_auth::pki::Authority;
use keelson_harness::{
    Api, Informers, Resource,
    api::{self, chain},
    discovery::{self, Discovery},
    leader::{self, LeaderElection},
};
use shared::Shared;
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// What is configured.
#[derive(Clone)]
pub struct Config {
    /// Silence after which a node's conditions become Unknown. Upstream's default: 50 s.
    pub node_monitor_grace: Duration,
    /// The cluster's authority, as it is at the time.
    pub cluster_ca: watch::Receiver<ClusterCa>,
    /// The addresses that Services of type LoadBalancer may have; without any, they are somebody else's.
    pub load_balancer_pools: Vec<Pool>,
    /// Gives nodes their pod addresses; without it they bring their own.
    pub node_ipam: Option<NodeIpam>,
    /// With several copies: work only while holding this Lease.
    pub leader_election: Option<LeaderElection>,
}

/// The cluster's authority.
#[derive(Clone, Default)]
pub struct ClusterCa {
    /// What is believed, published in every namespace: PEM, one certificate or several.
    pub pem: String,
    /// Signs certificates for the built-in signers; without it nobody here does.
    pub authority: Option<Arc<Authority>>,
}

/// Upstream's `--node-monitor-grace-period`.
pub const NODE_MONITOR_GRACE: Duration = Duration::from_secs(50);

impl Default for Config {
    fn default() -> Self {
        Self {
            node_monitor_grace: NODE_MONITOR_GRACE,
            cluster_ca: watch::channel(ClusterCa::default()).1,
            load_balancer_pools: Vec::new(),
            node_ipam: None,
            leader_election: None,
        }
    }
}

/// Runs all controllers until `shutdown`, with informers of their own.
pub async fn run(client: kube::Client, config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let api = Api::new(client);
    let informers = Informers::new(&api, &shutdown);
    run_with(api, informers, config, shutdown).await
}

/// Runs all controllers on informers that other components of the process share.
pub async fn run_with(
    api: Api,
    informers: Arc<Informers>,
    config: Config,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    leader::run(&api, config.leader_election.as_ref(), &shutdown, |working| {
        work(Shared { api: api.clone(), informers: informers.clone(), shutdown: working }, &config)
    })
    .await
}

/// Until this process stops leading or shuts down.
async fn work(shared: Shared, config: &Config) -> anyhow::Result<()> {
    let Some(served) = discover(&shared).await else { return Ok(()) };
    let mut all = JoinSet::new();
    all.spawn(serviceaccount::run(shared.clone()));
    all.spawn(rootca::run(shared.clone(), config.cluster_ca.clone()));
    all.spawn(deployment::run(shared.clone()));
    all.spawn(replicaset::run(shared.clone(), shared.informers.replica_sets()));
    all.spawn(replicaset::run(shared.clone(), shared.informers.replication_controllers()));
    all.spawn(endpointslice::run(shared.clone()));
    all.spawn(endpoints::run(shared.clone()));
    all.spawn(endpointslicemirroring::run(shared.clone()));
    all.spawn(namespace::run(shared.clone()));
    all.spawn(garbage::run(shared.clone()));
    all.spawn(nodelifecycle::run(shared.clone(), config.node_monitor_grace));
    all.spawn(tainteviction::run(shared.clone()));
    all.spawn(podgc::run(shared.clone()));
    all.spawn(clusterrole::run(shared.clone()));
    if serves(&served, &api::SECRETS) {
        all.spawn(bootstraptokens::run(shared.clone()));
    }
    if !config.load_balancer_pools.is_empty() {
        all.spawn(loadbalancer::run(shared.clone(), config.load_balancer_pools.clone()));
    }
    if let Some(ipam) = &config.node_ipam {
        all.spawn(nodeipam::run(shared.clone(), ipam.clone()));
    }
    if serves(&served, &api::CERTIFICATE_SIGNING_REQUESTS) {
        all.spawn(certificates::run(shared.clone(), config.cluster_ca.clone()));
    }
    if serves(&served, &api::RESOURCE_QUOTAS) {
        all.spawn(resourcequota::run(shared.clone()));
    }
    if serves(&served, &api::PERSISTENT_VOLUME_CLAIMS) {
        all.spawn(pvc::run(shared.clone()));
        all.spawn(storageprotection::run(shared.clone()));
    }
    while let Some(ended) = all.join_next().await {
        // A controller ends at shutdown; one that ends by a panic takes the process's others with it, to be restarted.
        ended?;
    }
    Ok(())
}

fn serves(served: &Discovery, resource: &Resource) -> bool {
    let is = served.serves(resource);
    if !is {
        tracing::info!(%resource, "not served: its controller does not run");
    }
    is
}

/// Waits for the API server. `None` at shutdown.
async fn discover(shared: &Shared) -> Option<Discovery> {
    const PAUSE: Duration = Duration::from_millis(500);
    loop {
        match discovery::discover(&shared.api).await {
            Ok(found) => return Some(found),
            Err(e) => tracing::warn!(error = chain(&e), "the API server does not answer yet"),
        }
        tokio::select! {
            () = shared.shutdown.cancelled() => return None,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}
