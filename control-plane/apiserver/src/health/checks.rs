//! Which checks a server has: upstream's names for what is here, each looking at the thing itself.
//!
//! Of upstream's `poststarthook/` checks those are here whose step this server takes. Its informers are the watch caches, so that the
//! checks of informers all ask whether these follow the store; APIServices are all looked at by one loop.

use super::{Health, Scope, Step, log};
use keelson_registry::Registry;
use std::{
    sync::{Arc, Weak},
    time::Duration,
};

/// How long the store may take to answer (upstream's `--etcd-healthcheck-timeout`).
const STORE_TIMEOUT: Duration = Duration::from_secs(2);

/// Upstream's informers, what counts objects, and where admission looks up policies and all else: here the watch caches.
const INFORMERS: [&str; 6] = [
    "generic-apiserver-start-informers",
    "start-apiserver-admission-initializer",
    "storage-object-count-tracker-hook",
    "start-apiextensions-informers",
    "crd-informer-synced",
    "start-kube-aggregator-informers",
];
/// What upstream's controllers of APIServices do each, and the loop's first round here does for all.
const API_SERVICES: [&str; 6] = [
    "apiservice-status-local-available-controller",
    "apiservice-status-remote-available-controller",
    "apiservice-registration-controller",
    "apiservice-discovery-controller",
    "apiservice-openapi-controller",
    "apiservice-openapiv3-controller",
];

/// A step of the start that is taken outside of this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartStep {
    /// The namespaces that a cluster has from its beginning.
    SystemNamespaces,
    /// The default roles and their bindings.
    BootstrapRoles,
    /// The priority classes of system pods.
    PriorityClasses,
    /// `kube-system/extension-apiserver-authentication`.
    AuthenticationInfo,
    /// The range of Service addresses, and Service default/kubernetes.
    Services,
    /// The object that names the range of Service addresses.
    ServiceCidr,
    /// The records of Services' addresses and ports were looked through.
    ServiceRepair,
    /// The front proxy's certificate is followed.
    ProxyCertificate,
}

impl StartStep {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::SystemNamespaces,
        Self::BootstrapRoles,
        Self::PriorityClasses,
        Self::AuthenticationInfo,
        Self::Services,
        Self::ServiceCidr,
        Self::ServiceRepair,
        Self::ProxyCertificate,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::SystemNamespaces => "start-system-namespaces-controller",
            Self::BootstrapRoles => "rbac/bootstrap-roles",
            Self::PriorityClasses => "scheduling/bootstrap-system-priority-classes",
            Self::AuthenticationInfo => "start-cluster-authentication-info-controller",
            Self::Services => "bootstrap-controller",
            Self::ServiceCidr => "start-kubernetes-service-cidr-controller",
            Self::ServiceRepair => "start-service-ip-repair-controllers",
            Self::ProxyCertificate => "aggregator-reload-proxy-client-cert",
        }
    }
}

/// The steps of a server's start.
#[derive(Clone, Default)]
pub(crate) struct Steps {
    outside: [Step; StartStep::ALL.len()],
    /// The built-in objects of flow control are there.
    pub(crate) flow_objects: Step,
    /// The gate follows the objects of flow control.
    pub(crate) flow_followed: Step,
    /// Our own APIServices are there.
    pub(crate) api_services: Step,
    /// Each APIService was looked at.
    pub(crate) api_services_checked: Step,
    /// Definitions of custom kinds are followed.
    pub(crate) definitions_followed: Step,
    /// The server is about to go.
    pub(crate) leaving: Step,
}

impl Steps {
    pub(crate) fn outside(&self, step: StartStep) -> &Step {
        &self.outside[step as usize]
    }
}

/// The checks of a server over this registry.
pub(crate) fn of(registry: &Arc<Registry>, steps: &Steps) -> Health {
    use Scope::{Everywhere, Readiness};
    let mut health = Health::default();
    health.now("ping", Everywhere, || Ok(()));
    health.now("log", Everywhere, log::check);
    for (name, scope) in [("etcd", Everywhere), ("etcd-readiness", Readiness)] {
        store(&mut health, name, scope, registry);
    }
    informers(&mut health, registry);
    for step in StartStep::ALL {
        health.step(step.name(), steps.outside(step));
    }
    health.step("priority-and-fairness-config-producer", &steps.flow_objects);
    health.step("priority-and-fairness-config-consumer", &steps.flow_followed);
    health.step("start-apiextensions-controllers", &steps.definitions_followed);
    health.step("kube-apiserver-autoregistration", &steps.api_services);
    let registered = steps.api_services.clone();
    health.now("autoregister-completion", Everywhere, move || registered.check());
    for name in API_SERVICES {
        health.step(name, &steps.api_services_checked);
    }
    let leaving = steps.leaving.clone();
    health.now("shutdown", Readiness, move || match leaving.check() {
        Ok(()) => Err("process is shutting down".to_owned()),
        Err(_) => Ok(()),
    });
    health
}

fn alive(registry: &Weak<Registry>) -> Result<Arc<Registry>, String> {
    registry.upgrade().ok_or_else(|| "the registry is closed".to_owned())
}

/// Whether the store answers.
fn store(health: &mut Health, name: &str, scope: Scope, registry: &Arc<Registry>) {
    let registry = Arc::downgrade(registry);
    let ask = move || {
        let registry = alive(&registry);
        async move {
            let registry = registry?;
            match tokio::time::timeout(STORE_TIMEOUT, registry.store_revision()).await {
                Ok(answer) => answer.map(drop).map_err(|status| status.message),
                Err(_) => Err(format!("no answer from the store in {} s", STORE_TIMEOUT.as_secs())),
            }
        }
    };
    health.add(name, scope, Box::new(move || Box::pin(ask())));
}

/// Whether the watch caches follow the store (everywhere), and have what it had when they were asked (readiness).
fn informers(health: &mut Health, registry: &Arc<Registry>) {
    let names = INFORMERS.iter().map(|name| format!("poststarthook/{name}"));
    for name in std::iter::once("watch-cache".to_owned()).chain(names) {
        let weak = Arc::downgrade(registry);
        let follows = move || alive(&weak)?.check().map_err(|status| status.message);
        health.now(name, Scope::Everywhere, follows);
    }
    let weak = Arc::downgrade(registry);
    let reach = move || {
        let registry = alive(&weak);
        async move { registry?.caught_up().await.map(drop).map_err(|status| status.message) }
    };
    health.add("informer-sync", Scope::Readiness, Box::new(move || Box::pin(reach())));
}
