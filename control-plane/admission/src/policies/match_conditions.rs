//! The matchConditions of webhooks: a policy's expressions over the request, its objects and the authorizer.

use keelson_auth::Authorizer;
use keelson_cel::admission::webhook_environment;
use keelson_registry::{Attributes, KindTable};
use serde_json::Value;

use super::{
    FailurePolicy,
    compiled::{self, Expression},
    evaluation::conditions_hold,
    request::{Clerk, Seen},
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
    /// What went wrong, where `failure` is to fail by that.
    pub(crate) fn hold(
        &self,
        (table, authorizer): (&KindTable, &Authorizer),
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        resource: Resource<'_>,
        failure: FailurePolicy,
    ) -> Result<bool, String> {
        if self.0.is_empty() {
            return Ok(true);
        }
        let shown = Shown::new(table, attributes, object, resource);
        let clerk = Clerk::new(authorizer, attributes, &shown.name);
        let seen = Seen {
            object: &shown.object,
            old: &shown.old,
            request: &shown.request,
            namespace: &Value::Null,
            params: &Value::Null,
            clerk: &clerk,
        };
        conditions_hold(&self.0, failure, &seen.bindings())
    }
}
