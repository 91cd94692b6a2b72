//! Which parts of the control plane this process runs, and starting scheduler and controllers.

use anyhow::Context;
use clap::ValueEnum;
use http::{HeaderValue, header::USER_AGENT};
use keelson_auth::pki::Authority;
use keelson_harness::{Api, Informers, leader::LeaderElection};
use std::{future::Future, path::Path, sync::Arc, time::Duration};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// A part of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Component {
    /// The API server.
    Apiserver,
    /// The controllers.
    Controllers,
    /// The scheduler.
    Scheduler,
}

impl Component {
    /// The user that the component acts as: upstream's name, to which the default roles are bound.
    pub(crate) const fn user(self) -> &'static str {
        match self {
            Self::Apiserver => "system:apiserver",
            Self::Controllers => "system:kube-controller-manager",
            Self::Scheduler => "system:kube-scheduler",
        }
    }

    /// The program's name, who owns the fields that it writes: upstream's.
    pub(crate) const fn agent(self) -> &'static str {
        match self {
            Self::Apiserver => "kube-apiserver",
            Self::Controllers => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
        }
    }
}

/// What the components are told.
pub(crate) struct Settings {
    /// How long a node may be silent.
    pub(crate) node_monitor_grace: Duration,
    /// The CA that every namespace gets.
    pub(crate) root_ca_pem: String,
    /// Addresses of load balancers.
    pub(crate) load_balancer_pools: Vec<keelson_controllers::Pool>,
    /// Pod addresses of nodes.
    pub(crate) node_ipam: Option<keelson_controllers::NodeIpam>,
    /// Signs certificate requests; None where its key is not at hand.
    pub(crate) authority: Option<Arc<Authority>>,
    /// Who we are among several copies; None when there can be no other.
    pub(crate) identity: Option<String>,
}

impl Settings {
    fn leader_election(&self, lease: &str) -> Option<LeaderElection> {
        self.identity.as_deref().map(|identity| LeaderElection::new(lease, identity))
    }
}

/// Components that run in this process.
pub(crate) struct Started {
    /// One each; ends with the component.
    pub(crate) tasks: JoinSet<anyhow::Result<()>>,
    /// The same tasks by the names of the components, to ask whether they run.
    pub(crate) handles: Vec<(&'static str, AbortHandle)>,
}

/// Starts scheduler and controllers as asked; each ends by `shutdown` or by its failure. Together they share one watch
/// a kind, which is the controllers': they may see whatever the scheduler may.
pub(crate) fn start(
    wanted: &[Component],
    client: impl Fn(Component) -> kube::Client,
    settings: &Settings,
    shutdown: &CancellationToken,
) -> Started {
    let (mut tasks, mut handles) = (JoinSet::new(), Vec::new());
    let watcher =
        if wanted.contains(&Component::Controllers) { Component::Controllers } else { Component::Scheduler };
    let informers = Informers::new(&Api::new(client(watcher)), shutdown);
    if wanted.contains(&Component::Controllers) {
        let config = keelson_controllers::Config {
            node_monitor_grace: settings.node_monitor_grace,
            root_ca_pem: settings.root_ca_pem.clone(),
            load_balancer_pools: settings.load_balancer_pools.clone(),
            node_ipam: settings.node_ipam.clone(),
            authority: settings.authority.clone(),
            leader_election: settings.leader_election("kube-controller-manager"),
        };
        let client = client(Component::Controllers);
        let run = keelson_controllers::run_with(client, informers.clone(), config, shutdown.clone());
        handles.push((Component::Controllers.agent(), tasks.spawn(named("the controllers", run))));
    }
    if wanted.contains(&Component::Scheduler) {
        let config = keelson_scheduler::Config {
            leader_election: settings.leader_election("kube-scheduler"),
            ..keelson_scheduler::Config::default()
        };
        let run =
            keelson_scheduler::run_with(client(Component::Scheduler), informers, config, shutdown.clone());
        handles.push((Component::Scheduler.agent(), tasks.spawn(named("the scheduler", run))));
    }
    Started { tasks, handles }
}

async fn named(what: &'static str, run: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    run.await.with_context(|| format!("{what} ended"))
}

/// A configuration for components that run apart from the API server.
pub(crate) async fn remote_config(path: &Path) -> anyhow::Result<kube::Config> {
    let kubeconfig = kube::config::Kubeconfig::read_from(path)
        .with_context(|| format!("cannot read the kubeconfig {}", path.display()))?;
    kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default())
        .await
        .with_context(|| format!("the kubeconfig {} is not usable", path.display()))
}

/// A component's client, which says whose it is.
pub(crate) fn remote_client(config: &kube::Config, component: Component) -> anyhow::Result<kube::Client> {
    let mut config = config.clone();
    config.headers.push((USER_AGENT, HeaderValue::from_static(component.agent())));
    Ok(kube::Client::try_from(config)?)
}
