//! Which parts of the control plane this process runs, and starting scheduler and controllers.

use anyhow::Context;
use clap::ValueEnum;
use keelson_controllers::ClusterCa;
use keelson_harness::{Api, Informers, leader::LeaderElection};
use keelson_scheduler::HandlerSync;
use std::{future::Future, time::Duration};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
};
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

    /// Upstream's secure port of the component by itself; the API server's own is another option's.
    pub(crate) const fn port(self) -> u16 {
        match self {
            Self::Apiserver => 0,
            Self::Controllers => 10257,
            Self::Scheduler => 10259,
        }
    }
}

/// What the components are told.
pub(crate) struct Settings {
    /// How long a node may be silent.
    pub(crate) node_monitor_grace: Duration,
    /// The CA that every namespace gets, and that signs certificate requests where its key is at hand.
    pub(crate) cluster_ca: watch::Receiver<ClusterCa>,
    /// Addresses of load balancers.
    pub(crate) load_balancer_pools: Vec<keelson_controllers::Pool>,
    /// Pod addresses of nodes.
    pub(crate) node_ipam: Option<keelson_controllers::NodeIpam>,
    /// By which controllers and scheduler each find one leader among several copies; None when there can be no other.
    pub(crate) elections: Option<Elections>,
    /// Whether the scheduler has seen what there is.
    pub(crate) handler_sync: HandlerSync,
}

/// One for each component, by the Lease of its name.
pub(crate) struct Elections {
    controllers: LeaderElection,
    scheduler: LeaderElection,
}

impl Elections {
    /// Of a process that goes by this name.
    pub(crate) fn of(identity: &str) -> Self {
        let by = |component: Component| LeaderElection::new(component.agent(), identity);
        Self { controllers: by(Component::Controllers), scheduler: by(Component::Scheduler) }
    }
}

impl Settings {
    /// None where the component need not be elected.
    pub(crate) fn election(&self, component: Component) -> Option<&LeaderElection> {
        let elections = self.elections.as_ref()?;
        match component {
            Component::Apiserver => None,
            Component::Controllers => Some(&elections.controllers),
            Component::Scheduler => Some(&elections.scheduler),
        }
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
    api: impl Fn(Component) -> Api,
    settings: &Settings,
    shutdown: &CancellationToken,
) -> Started {
    let (mut tasks, mut handles) = (JoinSet::new(), Vec::new());
    let watcher =
        if wanted.contains(&Component::Controllers) { Component::Controllers } else { Component::Scheduler };
    let informers = Informers::new(&api(watcher), shutdown);
    if wanted.contains(&Component::Controllers) {
        let config = keelson_controllers::Config {
            node_monitor_grace: settings.node_monitor_grace,
            cluster_ca: settings.cluster_ca.clone(),
            load_balancer_pools: settings.load_balancer_pools.clone(),
            node_ipam: settings.node_ipam.clone(),
            leader_election: settings.election(Component::Controllers).cloned(),
        };
        let api = api(Component::Controllers);
        let run = keelson_controllers::run_with(api, informers.clone(), config, shutdown.clone());
        handles.push((Component::Controllers.agent(), tasks.spawn(named("the controllers", run))));
    }
    if wanted.contains(&Component::Scheduler) {
        let config = keelson_scheduler::Config {
            leader_election: settings.election(Component::Scheduler).cloned(),
            handler_sync: settings.handler_sync.clone(),
            ..keelson_scheduler::Config::default()
        };
        let run = keelson_scheduler::run_with(api(Component::Scheduler), informers, config, shutdown.clone());
        handles.push((Component::Scheduler.agent(), tasks.spawn(named("the scheduler", run))));
    }
    Started { tasks, handles }
}

async fn named(what: &'static str, run: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    run.await.with_context(|| format!("{what} ended"))
}
