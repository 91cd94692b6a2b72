//! MutatingAdmissionWebhook and ValidatingAdmissionWebhook: asking programs of the user, over HTTPS.
//!
//! ```text
//! configurations (compiled once a change) ──> matching ──> review (request) ──> keelson-webhook ──> review (verdict)
//!       mutating: one after the other, patches applied ──> a second round for those that asked for one
//!       validating: all at once
//! ```
//! Rules: <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>. A request costs two
//! loads of a revision as long as nobody has configured anything.

mod call;
mod configuration;
mod dispatch;
mod error;
mod note;
mod review;

use configuration::Configurations;
use keelson_auth::Authorizer;
use keelson_registry::{Attributes, KindTable, Registry, Status};
use keelson_webhook::Client;
use serde_json::{Map, Value};
use std::{
    collections::HashSet,
    sync::{Arc, Weak},
};

use crate::{
    matching::{Resource, Subject, equivalents},
    plugin::forbidden,
};
use configuration::Hook;

/// Both plugins over a registry's caches. Held weakly: the registry holds the chain.
pub(crate) struct Webhooks {
    registry: Weak<Registry>,
    authorizer: Arc<Authorizer>,
    client: Client,
    mutating: Configurations,
    validating: Configurations,
}

/// What the first round of mutating webhooks leaves for a second one.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// Asked already, and willing to be asked again.
    willing: HashSet<String>,
    /// To be asked again.
    again: HashSet<String>,
    /// The object as the round left it.
    output: Value,
    /// Whether any webhook changed the object.
    pub(crate) changed: bool,
}

impl Round {
    /// Whoever was asked before the object changed has not seen it as it is.
    fn object_changed(&mut self) {
        self.again.extend(self.willing.drain());
    }
}

impl Webhooks {
    pub(crate) fn new(registry: &Arc<Registry>, authorizer: Arc<Authorizer>, client: Client) -> Self {
        Self {
            registry: Arc::downgrade(registry),
            authorizer,
            client,
            mutating: Configurations::new("mutatingwebhookconfigurations"),
            validating: Configurations::new("validatingwebhookconfigurations"),
        }
    }

    fn registry(&self) -> Result<Arc<Registry>, Status> {
        self.registry.upgrade().ok_or_else(|| Status::unavailable("the server is shutting down"))
    }

    /// Whether the webhook is about the request, and in which form it wants to see the object.
    async fn wanted<'a>(
        &self,
        registry: &Registry,
        hook: &Hook,
        attributes: &Attributes<'_>,
        subject: &Subject<'a>,
    ) -> Result<Option<Resource<'a>>, Status> {
        let criteria = match &hook.criteria {
            Ok(criteria) => criteria,
            Err(why) => return Err(Status::internal(why)),
        };
        let Some(resource) = criteria.matches(subject) else { return Ok(None) };
        if criteria.needs_namespace(subject) {
            let labels = match subject.namespace_name() {
                Some(name) => namespace_labels(registry, name, subject).await?,
                None => Map::new(),
            };
            if !criteria.matches_namespace(subject, Some(&labels)) {
                return Ok(None);
            }
        }
        let with = (registry, &*self.authorizer);
        let held = hook.conditions.hold(with, attributes, subject.object, resource, hook.failure).await?;
        let held = held.map_err(|why| forbidden(attributes, subject.object.or(subject.old), why))?;
        Ok(held.then_some(resource))
    }
}

/// Labels of a namespace as the caches have it, or the store where they have none. A namespace that is being made is not
/// there yet: its own labels are looked at.
async fn namespace_labels(
    registry: &Registry,
    name: &str,
    subject: &Subject<'_>,
) -> Result<Map<String, Value>, Status> {
    let Some(kind) = registry.table().by_resource("", "v1", "namespaces").cloned() else {
        return Err(Status::internal("namespaces are not served"));
    };
    let entry = match registry.cached(&kind, None, name) {
        Some(entry) => entry,
        None => match registry.get(&kind, None, name, None).await {
            Ok(entry) => entry,
            Err(status) if status.code == 404 && subject.resource.plural == "namespaces" => {
                return Ok(Map::new());
            }
            Err(status) => return Err(status),
        },
    };
    let labels = entry.head.labels.iter();
    Ok(labels.map(|(key, value)| (key.to_string(), Value::from(value.as_ref()))).collect())
}

/// The other forms of the objects that the request is about.
fn others<'a>(table: &'a KindTable, attributes: &Attributes<'_>) -> Vec<Resource<'a>> {
    equivalents(table, attributes.kind, attributes.subresource)
}
