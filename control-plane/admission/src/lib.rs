//! The ordered chain of admission plugins.
//!
//! ```text
//! registry --mutate--> [Chain] NamespaceLifecycle > LimitRanger > ServiceAccount > NodeRestriction > TaintNodesByCondition
//!          --validate-->         > Priority > DefaultTolerationSeconds > RuntimeClass > DefaultIngressClass > RBAC escalation
//!                                each plugin reads the cluster through [Lookup]
//! ```
//! The order is upstream's. A plugin is a file: a pure function of the request and of what it looks up.
//! What a kind's own fields must be like is not admission: that is the registry's strategies.
//! PodSecurity, ResourceQuota, webhooks and policies do not exist yet.
#![forbid(unsafe_code)]

mod default_ingress_class;
mod default_toleration;
mod limit_ranger;
mod lookup;
pub mod matching;
mod namespace_lifecycle;
mod node_restriction;
mod plugin;
mod priority;
mod rbac_escalation;
mod runtime_class;
mod service_account;
mod taint_nodes;
#[cfg(test)]
mod testing;

use std::sync::Arc;

use async_trait::async_trait;
use keelson_auth::Authorizer;
use keelson_registry::{Admission, Attributes, Registry, Status};
use serde_json::Value;

pub use lookup::{Lookup, NamespaceState, RegistryLookup, Wanted};
use plugin::Plugin;

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
    plugins: Vec<Box<dyn Plugin>>,
    lookup: Arc<dyn Lookup>,
}

impl Chain {
    /// The chain over any view of the cluster.
    pub fn new(lookup: Arc<dyn Lookup>, authorizer: Arc<Authorizer>, config: Config) -> Self {
        let plugins: Vec<Box<dyn Plugin>> = vec![
            Box::new(namespace_lifecycle::NamespaceLifecycle),
            Box::new(limit_ranger::LimitRanger),
            Box::new(service_account::ServiceAccount),
            Box::new(node_restriction::NodeRestriction),
            Box::new(taint_nodes::TaintNodesByCondition),
            Box::new(priority::Priority),
            Box::new(default_toleration::DefaultTolerationSeconds { config }),
            Box::new(runtime_class::RuntimeClass),
            Box::new(default_ingress_class::DefaultIngressClass),
            Box::new(rbac_escalation::RbacEscalation { authorizer }),
        ];
        Self { plugins, lookup }
    }

    /// The chain as an apiserver runs it, for [`Registry::set_admission`].
    pub fn over(registry: &Arc<Registry>, authorizer: Arc<Authorizer>, config: Config) -> Arc<dyn Admission> {
        Arc::new(Self::new(Arc::new(RegistryLookup::new(registry)), authorizer, config))
    }
}

#[async_trait]
impl Admission for Chain {
    async fn mutate(
        &self,
        attributes: &Attributes<'_>,
        mut object: Option<&mut Value>,
    ) -> Result<(), Status> {
        for plugin in self.plugins.iter().filter(|plugin| plugin.handles(attributes)) {
            match object.as_deref_mut() {
                Some(object) => plugin.mutate(attributes, object, &*self.lookup).await?,
                None => plugin.admit_delete(attributes, &*self.lookup).await?,
            }
        }
        Ok(())
    }

    async fn validate(&self, attributes: &Attributes<'_>, object: Option<&Value>) -> Result<(), Status> {
        for plugin in self.plugins.iter().filter(|plugin| plugin.handles(attributes)) {
            plugin.validate(attributes, object, &*self.lookup).await?;
        }
        Ok(())
    }
}
