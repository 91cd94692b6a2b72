//! The ordered chain of admission plugins.
//!
//! ```text
//! registry --mutate--> [Chain] NamespaceLifecycle > LimitRanger > ServiceAccount > NodeRestriction > TaintNodesByCondition
//!          --validate-->         > PodSecurity > Priority > DefaultTolerationSeconds > DefaultStorageClass
//!                                > StorageObjectInUseProtection > PersistentVolumeClaimResize
//!                                > RuntimeClass > certificates (approval, signing, subject)
//!                                > DefaultIngressClass > RBAC escalation
//!                                       > policies > webhooks (mutating: then all of it once more, where one changed
//!                                         the object)
//!                                       > ResourceQuota (the last: nothing is charged for what another refuses)
//!                                each plugin reads the cluster through [Lookup]
//! ```
//! The order is upstream's. A plugin is a file: a pure function of the request and of what it looks up.
//! What a kind's own fields must be like is not admission: that is the registry's strategies.
#![forbid(unsafe_code)]

mod certificates;
mod default_ingress_class;
mod default_toleration;
mod limit_ranger;
mod lookup;
pub mod matching;
mod metrics;
mod namespace_lifecycle;
mod node_restriction;
mod plugin;
mod pod_security;
mod policies;
mod priority;
mod rbac_escalation;
mod resource_quota;
mod runtime_class;
mod service_account;
mod storage_class;
mod storage_protection;
mod surroundings;
mod taint_nodes;
#[cfg(test)]
mod testing;
mod webhooks;

use std::sync::Arc;

use async_trait::async_trait;
use keelson_auth::Authorizer;
use keelson_registry::{Admission, Attributes, Registry, Status};
use keelson_webhook::Client;
use serde_json::Value;

pub use lookup::{Lookup, NamespaceState, RegistryLookup, Wanted};
use metrics::{Step, Timer};
use plugin::Plugin;
use policies::Policies;
use resource_quota::ResourceQuota;
use webhooks::Webhooks;

/// How long a pod stays on a node that is not ready or cannot be reached, unless it says so itself: upstream's default.
pub const TOLERATION_SECONDS_DEFAULT: i64 = 300;

/// What the plugins can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// tolerationSeconds that a pod gets for `node.kubernetes.io/not-ready:NoExecute`.
    pub not_ready_toleration_seconds: i64,
    /// tolerationSeconds that a pod gets for `node.kubernetes.io/unreachable:NoExecute`.
    pub unreachable_toleration_seconds: i64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            not_ready_toleration_seconds: TOLERATION_SECONDS_DEFAULT,
            unreachable_toleration_seconds: TOLERATION_SECONDS_DEFAULT,
        }
    }
}

/// The plugins in their order.
pub struct Chain {
    plugins: Vec<(Box<dyn Plugin>, Timer)>,
    lookup: Arc<dyn Lookup>,
    policies: Option<Policies>,
    webhooks: Option<Webhooks>,
    quota: ResourceQuota,
    timers: Timers,
}

/// Of what is no plugin like the others.
struct Timers {
    steps: Timer,
    /// By step: policies, then webhooks.
    policies: [Timer; 2],
    webhooks: [Timer; 2],
    quota: Timer,
}

impl Timers {
    fn new() -> Self {
        Self {
            steps: Timer::of_step(),
            policies: [Timer::of("MutatingAdmissionPolicy"), Timer::of("ValidatingAdmissionPolicy")],
            webhooks: [Timer::of("MutatingAdmissionWebhook"), Timer::of("ValidatingAdmissionWebhook")],
            quota: Timer::of("ResourceQuota"),
        }
    }
}

impl Chain {
    /// The chain over any view of the cluster.
    pub fn new(lookup: Arc<dyn Lookup>, authorizer: Arc<Authorizer>, config: Config) -> Self {
        let plugins: Vec<Box<dyn Plugin>> = vec![
            Box::new(namespace_lifecycle::NamespaceLifecycle),
            Box::new(limit_ranger::LimitRanger),
            Box::new(service_account::ServiceAccount),
            Box::new(node_restriction::NodeRestriction { authorizer: authorizer.clone() }),
            Box::new(taint_nodes::TaintNodesByCondition),
            Box::new(pod_security::PodSecurity),
            Box::new(priority::Priority),
            Box::new(default_toleration::DefaultTolerationSeconds { config }),
            Box::new(storage_class::DefaultStorageClass),
            Box::new(storage_protection::StorageObjectInUseProtection),
            Box::new(storage_class::PersistentVolumeClaimResize),
            Box::new(runtime_class::RuntimeClass),
            Box::new(certificates::CertificateApproval { authorizer: authorizer.clone() }),
            Box::new(certificates::CertificateSigning { authorizer: authorizer.clone() }),
            Box::new(certificates::CertificateSubjectRestriction),
            Box::new(default_ingress_class::DefaultIngressClass),
            Box::new(rbac_escalation::RbacEscalation { authorizer }),
        ];
        let plugins = plugins.into_iter().map(|plugin| {
            let timer = Timer::of(plugin.name());
            (plugin, timer)
        });
        Self {
            plugins: plugins.collect(),
            lookup,
            policies: None,
            webhooks: None,
            quota: ResourceQuota::default(),
            timers: Timers::new(),
        }
    }

    /// The chain as an apiserver runs it, for [`Registry::set_admission`]; webhooks are asked through `client`.
    pub fn over(
        registry: &Arc<Registry>,
        authorizer: Arc<Authorizer>,
        config: Config,
        client: Client,
    ) -> Arc<dyn Admission> {
        let policies = Some(Policies::new(registry, authorizer.clone()));
        let webhooks = Some(Webhooks::new(registry, authorizer.clone(), client));
        let chain = Self::new(Arc::new(RegistryLookup::new(registry)), authorizer, config);
        Arc::new(Self { policies, webhooks, ..chain })
    }

    async fn mutate_by_plugins(
        &self,
        attributes: &Attributes<'_>,
        mut object: Option<&mut Value>,
    ) -> Result<(), Status> {
        for (plugin, timer) in self.plugins.iter().filter(|(plugin, _)| plugin.handles(attributes)) {
            let work = match object.as_deref_mut() {
                Some(object) => plugin.mutate(attributes, object, &*self.lookup),
                None => plugin.admit_delete(attributes, &*self.lookup),
            };
            timer.run(Step::Admit, attributes.operation, work).await?;
        }
        Ok(())
    }

    async fn mutate_all(
        &self,
        attributes: &Attributes<'_>,
        mut object: Option<&mut Value>,
    ) -> Result<(), Status> {
        let (operation, timers) = (attributes.operation, &self.timers);
        self.mutate_by_plugins(attributes, object.as_deref_mut()).await?;
        let by_policies = match &self.policies {
            Some(policies) => {
                let work = policies.mutate(attributes, object.as_deref_mut());
                timers.policies[0].run(Step::Admit, operation, work).await?
            }
            None => policies::Round::default(),
        };
        let by_webhooks = match &self.webhooks {
            Some(webhooks) => {
                let work = webhooks.mutate(attributes, object.as_deref_mut());
                timers.webhooks[0].run(Step::Admit, operation, work).await?
            }
            None => webhooks::Round::default(),
        };
        let changed = by_policies.changed || by_webhooks.changed;
        let Some(object) = object.filter(|_| changed) else { return Ok(()) };
        // What the user's policies and webhooks added is looked at once more by all, as upstream's reinvocation.
        let seen = object.clone();
        self.mutate_by_plugins(attributes, Some(object)).await?;
        if let Some(policies) = &self.policies {
            policies.reinvoke(attributes, object, by_policies).await?;
        }
        match &self.webhooks {
            Some(webhooks) if by_webhooks.changed || *object != seen => {
                webhooks.reinvoke(attributes, object, by_webhooks).await
            }
            _ => Ok(()),
        }
    }

    async fn validate_all(&self, attributes: &Attributes<'_>, object: Option<&Value>) -> Result<(), Status> {
        let (operation, timers) = (attributes.operation, &self.timers);
        for (plugin, timer) in self.plugins.iter().filter(|(plugin, _)| plugin.handles(attributes)) {
            let work = plugin.validate(attributes, object, &*self.lookup);
            timer.run(Step::Validate, operation, work).await?;
        }
        if let Some(policies) = &self.policies {
            let work = policies.validate(attributes, object);
            timers.policies[1].run(Step::Validate, operation, work).await?;
        }
        if let Some(webhooks) = &self.webhooks {
            let work = webhooks.validate(attributes, object);
            timers.webhooks[1].run(Step::Validate, operation, work).await?;
        }
        if !self.quota.handles(attributes) {
            return Ok(());
        }
        let work = self.quota.validate(attributes, object, &*self.lookup);
        timers.quota.run(Step::Validate, operation, work).await
    }
}

#[async_trait]
impl Admission for Chain {
    async fn mutate(&self, attributes: &Attributes<'_>, object: Option<&mut Value>) -> Result<(), Status> {
        let work = self.mutate_all(attributes, object);
        self.timers.steps.run(Step::Admit, attributes.operation, work).await
    }

    async fn validate(&self, attributes: &Attributes<'_>, object: Option<&Value>) -> Result<(), Status> {
        let work = self.validate_all(attributes, object);
        self.timers.steps.run(Step::Validate, attributes.operation, work).await
    }
}
