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
use serde_json::Value;
use std::{
    collections::HashSet,
    sync::{Arc, Weak},
};

use crate::{
    matching::{Resource, Subject, equivalents},
    plugin::forbidden,
    surroundings::Surroundings,
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
        around: &mut Surroundings,
    ) -> Result<Option<Resource<'a>>, Status> {
        let criteria = match &hook.criteria {
            Ok(criteria) => criteria,
            Err(why) => return Err(Status::internal(why)),
        };
        let Some(resource) = around.wanted(registry, criteria, subject).await? else { return Ok(None) };
        let with = (registry, &*self.authorizer);
        let held = hook.conditions.hold(with, attributes, subject.object, resource, hook.failure).await?;
        let held = held.map_err(|why| forbidden(attributes, subject.object.or(subject.old), why))?;
        Ok(held.then_some(resource))
    }
}

/// The other forms of the objects that the request is about.
fn others<'a>(table: &'a KindTable, attributes: &Attributes<'a>) -> Vec<Resource<'a>> {
    equivalents(table, attributes.kind, attributes.subresource)
}
