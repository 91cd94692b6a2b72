//! Asks the authorizer about a request and words the refusal. Whoever decides is in keelson-auth, but for webhooks, which are
//! asked from here.

mod settings;
mod webhook;

pub use settings::AccessAuthorizer;
pub(crate) use settings::Webhooks;
pub use webhook::AccessWebhook;

use crate::{
    request::{info::RequestInfo, query::Query},
    server::{ApiServer, Inner},
};
use async_trait::async_trait;
use keelson_auth::{
    UserInfo,
    authz::{Attributes, Resource, Verdict},
};
use keelson_registry::{
    Annotations, MayCreate,
    status::{GroupResource, Reason, Status},
};
use keelson_semantics::{FieldSelector, LabelSelector};
use std::{fmt, sync::Arc, time::Instant};

/// Annotations of the audit log.
const DECISION: &str = "authorization.k8s.io/decision";
const REASON: &str = "authorization.k8s.io/reason";

impl ApiServer {
    /// May the user do what the request asks for? Err is the answer. Either is noted for the audit log.
    pub(crate) async fn authorize(
        &self,
        user: &UserInfo,
        info: &RequestInfo,
        query: &Query,
        annotations: &Annotations,
    ) -> Result<(), Status> {
        let selectors = Selectors::of_verb(&info.verb, query);
        let attributes = attributes(user, &info.verb, info, &selectors);
        let began = Instant::now();
        let verdict = self.inner.authorizer.decide(&attributes).await;
        self.inner.metrics.identities.authorized(&verdict, began.elapsed());
        if verdict.is_allowed() || verdict.error.is_none() {
            let decision = if verdict.is_allowed() { "allow" } else { "forbid" };
            annotations.add(DECISION, || decision.to_owned());
        }
        annotations.add(REASON, || match &verdict {
            Verdict { error: Some(_), .. } if !verdict.is_allowed() => "internal error".to_owned(),
            Verdict { reason, .. } => reason.as_deref().unwrap_or_default().to_owned(),
        });
        judged(info, &attributes, &verdict)
    }

    /// May the user `create` on the subresource, whatever the method?
    pub(crate) async fn authorize_create(&self, user: &UserInfo, info: &RequestInfo) -> Result<(), Status> {
        let selectors = Selectors::default();
        let attributes = attributes(user, "create", info, &selectors);
        judged(info, &attributes, &self.inner.authorizer.decide(&attributes).await)
    }
}

/// Whether a write by name may make what is absent, which is another right; asked when it is.
pub(crate) struct Creation {
    server: ApiServer,
    user: Arc<UserInfo>,
    info: RequestInfo,
}

impl Creation {
    pub(crate) fn asked(server: &ApiServer, user: &Arc<UserInfo>, info: &RequestInfo) -> Arc<dyn MayCreate> {
        Arc::new(Self { server: server.clone(), user: user.clone(), info: info.clone() })
    }
}

impl fmt::Debug for Creation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Creation({:?})", self.info.path)
    }
}

#[async_trait]
impl MayCreate for Creation {
    async fn may_create(&self) -> Result<(), Status> {
        self.server.authorize_create(&self.user, &self.info).await
    }
}

/// The answer to a request that may not proceed.
pub(crate) fn judged(
    info: &RequestInfo,
    attributes: &Attributes<'_>,
    verdict: &Verdict,
) -> Result<(), Status> {
    if verdict.is_allowed() {
        return Ok(());
    }
    // Nobody knows whether the request is forbidden: upstream's text, which it writes without a Status around it.
    if let Some(error) = &verdict.error {
        let message = format!("Internal Server Error: {:?}: {error}", info.path);
        return Err(Status::new(500, Reason::InternalError, message));
    }
    let about = GroupResource::new(info.group.clone(), info.resource.clone());
    Err(Status::forbidden(&about, &info.name, attributes.forbidden_message(verdict.reason.as_deref())))
}

/// What an authorizer or the audit policy is asked about a request.
pub(crate) fn attributes<'a>(
    user: &'a UserInfo,
    verb: &'a str,
    info: &'a RequestInfo,
    selectors: &'a Selectors,
) -> Attributes<'a> {
    if !info.is_resource {
        return Attributes::path(user, verb, &info.path);
    }
    let resource = Resource {
        group: &info.group,
        version: &info.version,
        resource: &info.resource,
        subresource: &info.subresource,
        namespace: &info.namespace,
        name: &info.name,
        fields: selectors.fields.as_ref(),
        labels: selectors.labels.as_ref(),
    };
    Attributes::resource(user, verb, resource)
}

/// The selectors of a query as the registry will read them. One that cannot be read narrows nothing here, and is refused
/// there.
#[derive(Default)]
pub(crate) struct Selectors {
    fields: Option<FieldSelector>,
    labels: Option<LabelSelector>,
}

impl Selectors {
    /// Those of a request with this verb.
    pub(crate) fn of_verb(verb: &str, query: &Query) -> Self {
        match verb {
            "list" | "watch" | "deletecollection" => Self::of(query),
            _ => Self::default(),
        }
    }

    fn of(query: &Query) -> Self {
        let given = |key| query.first(key).filter(|text| !text.is_empty());
        Self {
            fields: given("fieldSelector").and_then(|text| FieldSelector::parse(text).ok()),
            labels: given("labelSelector").and_then(|text| LabelSelector::parse(text).ok()),
        }
    }
}

impl Inner {
    /// The Prometheus text format of whoever decides.
    pub(crate) fn render_authorization(&self, out: &mut String) {
        settings::render(&self.authorizer.chain(), out);
        self.webhooks.render(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_read_as_the_registry_reads_them() {
        /// A query's text, and the terms of equality that are read of it.
        type Row<'a> = (&'a str, Option<&'a [(&'a str, &'a str)]>);
        let rows: [Row<'_>; 3] = [
            (
                "spec.nodeName%3Da,status.phase%21%3DFailed,x%3D%3Dy",
                Some(&[("spec.nodeName", "a"), ("x", "y")]),
            ),
            ("metadata.name%3Dp%5C%2Cspec.nodeName", Some(&[("metadata.name", "p,spec.nodeName")])),
            // Not to be read, so it says nothing.
            ("metadata.name%21%3Dp%5C%2Cspec.nodeName%3Da", None),
        ];
        for (text, wanted) in rows {
            let read = Selectors::of(&Query::parse(&format!("fieldSelector={text}&labelSelector=a%3Db")));
            let equal = |selector: &FieldSelector| -> Vec<(String, String)> {
                let terms = selector.terms.iter().filter(|term| term.equal);
                terms.map(|term| (term.field.clone(), term.value.clone())).collect()
            };
            let terms = read.fields.as_ref().map(equal);
            let terms: Option<Vec<(&str, &str)>> =
                terms.as_ref().map(|terms| terms.iter().map(|(field, value)| (&**field, &**value)).collect());
            assert_eq!(terms.as_deref(), wanted, "{text}");
            assert_eq!(read.labels.map(|labels| labels.to_string()).as_deref(), Some("a=b"));
        }
    }
}
