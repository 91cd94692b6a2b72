//! The matchConditions of webhooks: a policy's expressions over the request, its objects and the authorizer.

use keelson_auth::Authorizer;
use keelson_cel::admission::webhook_environment;
use keelson_registry::{Attributes, Registry, Status};
use serde_json::Value;

use super::{
    FailurePolicy,
    clerk::Clerk,
    compiled::{self, Expression},
    evaluation::conditions_hold,
    request::Seen,
    validation::Shown,
};
use crate::matching::Resource;

/// All of one webhook's, compiled.
pub(crate) struct MatchConditions(Vec<Expression>);

impl MatchConditions {
    /// Of an entry of a webhook configuration.
    pub(crate) fn read(webhook: &Value) -> Self {
        Self(compiled::match_conditions(webhook, &webhook_environment()))
    }

    /// Whether they let the webhook be asked about the request, whose objects it sees as `resource`.
    ///
    /// # Errors
    /// The objects cannot be shown so; within, what went wrong, where `failure` is to fail by that.
    pub(crate) async fn hold(
        &self,
        (registry, authorizer): (&Registry, &Authorizer),
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        resource: Resource<'_>,
        failure: FailurePolicy,
    ) -> Result<Result<bool, String>, Status> {
        if self.0.is_empty() {
            return Ok(Ok(true));
        }
        let shown = Shown::new(registry, &registry.table(), attributes, object, resource).await?;
        let clerk = Clerk::new(authorizer, attributes, &shown.name);
        let seen = Seen {
            object: &shown.object,
            old: &shown.old,
            request: &shown.request,
            namespace: &Value::Null,
            params: &Value::Null,
            clerk: &clerk,
        };
        Ok(clerk.settle(|| conditions_hold(&self.0, failure, &seen.bindings())).await)
    }
}
