//! MutatingAdmissionPolicy and ValidatingAdmissionPolicy: the user's expressions about writes, evaluated in place.
//!
//! ```text
//! policies + bindings (compiled once a change) ──> matching ──> params, namespace ──> expressions ──> verdict or patch
//!       mutating: one after the other, each sees what the one before it left; those that wish it are asked once more
//!       validating: all of them, the first denial is told
//! ```
//! Rules: <https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/> and
//! mutating-admission-policy beside it. As long as nobody has made a policy a request costs two loads of a revision.
//!
//! Not as upstream: `status.typeChecking` is never filled in, and what mutations change is recorded for no manager.

mod clerk;
mod compiled;
mod evaluation;
mod match_conditions;
mod mutation;
mod params;
mod request;
mod validation;

use std::sync::{Arc, Weak};

use keelson_auth::Authorizer;
use keelson_registry::{Attributes, Entry, Registry, Status};
use serde_json::{Map, Value};

use crate::matching::{Criteria, Resource, Subject};
use compiled::Policies as Set;

pub(crate) use compiled::FailurePolicy;
pub(crate) use match_conditions::MatchConditions;
pub(crate) use mutation::Round;

/// Both plugins over a registry's caches. Held weakly: the registry holds the chain.
pub(crate) struct Policies {
    registry: Weak<Registry>,
    authorizer: Arc<Authorizer>,
    mutating: Set,
    validating: Set,
}

impl Policies {
    pub(crate) fn new(registry: &Arc<Registry>, authorizer: Arc<Authorizer>) -> Self {
        Self {
            registry: Arc::downgrade(registry),
            authorizer,
            mutating: Set::new("mutatingadmissionpolicies", "mutatingadmissionpolicybindings"),
            validating: Set::new("validatingadmissionpolicies", "validatingadmissionpolicybindings"),
        }
    }

    fn registry(&self) -> Result<Arc<Registry>, Status> {
        self.registry.upgrade().ok_or_else(|| Status::unavailable("the server is shutting down"))
    }
}

/// The namespace of a request, as far as it was looked for.
#[derive(Default)]
pub(super) struct Surroundings {
    namespace: Option<Option<Arc<Entry>>>,
}

impl Surroundings {
    /// The Namespace that `name` names, as the caches have it, or the store where they have none.
    async fn namespace(&mut self, registry: &Registry, name: &str) -> Result<Option<Arc<Entry>>, Status> {
        if let Some(known) = &self.namespace {
            return Ok(known.clone());
        }
        let kind = registry.table().by_resource("", "v1", "namespaces").cloned();
        let kind = kind.ok_or_else(|| Status::internal("namespaces are not served"))?;
        let found = match registry.cached(&kind, None, name) {
            Some(entry) => Some(entry),
            None => match registry.get(&kind, None, name, None).await {
                Ok(entry) => Some(entry),
                Err(status) if status.code == 404 => None,
                Err(status) => return Err(status),
            },
        };
        self.namespace = Some(found.clone());
        Ok(found)
    }

    /// Whether the criteria are about the request, and in which form the objects are to be looked at.
    async fn wanted<'a>(
        &mut self,
        registry: &Registry,
        criteria: &Criteria,
        subject: &Subject<'a>,
    ) -> Result<Option<Resource<'a>>, Status> {
        let Some(resource) = criteria.matches(subject) else { return Ok(None) };
        if !criteria.needs_namespace(subject) {
            return Ok(Some(resource));
        }
        let entry = match subject.namespace_name() {
            Some(name) => self.namespace(registry, name).await?,
            None => None,
        };
        let labels: Map<String, Value> = entry
            .iter()
            .flat_map(|entry| entry.head.labels.iter())
            .map(|(key, value)| (key.to_string(), Value::from(value.as_ref())))
            .collect();
        Ok(criteria.matches_namespace(subject, Some(&labels)).then_some(resource))
    }

    /// `namespaceObject`: Null for what lives in no namespace, Namespaces included.
    async fn namespace_object(
        &mut self,
        registry: &Registry,
        attributes: &Attributes<'_>,
    ) -> Result<Value, Status> {
        let itself = attributes.kind.resource() == ("", "namespaces");
        if attributes.namespace.is_empty() || itself {
            return Ok(Value::Null);
        }
        let entry = self.namespace(registry, attributes.namespace).await?;
        Ok(entry.map_or(Value::Null, |entry| entry.to_value()))
    }
}
