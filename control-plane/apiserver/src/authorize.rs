//! Asks the authorizer about a request and words the refusal. The authorizers themselves are in keelson-auth.

use crate::{
    request::{info::RequestInfo, query::Query},
    server::ApiServer,
};
use keelson_auth::{
    UserInfo,
    authz::{Attributes, FieldTerm, Resource, Verdict},
};
use keelson_registry::{
    Annotations,
    status::{GroupResource, Status},
};
use keelson_semantics::FieldSelector;
use std::time::Instant;

/// Annotations of the audit log.
const DECISION: &str = "authorization.k8s.io/decision";
const REASON: &str = "authorization.k8s.io/reason";

impl ApiServer {
    /// May the user do what the request asks for? Err is the 403. Either is noted for the audit log.
    pub(crate) fn authorize(
        &self,
        user: &UserInfo,
        info: &RequestInfo,
        query: &Query,
        annotations: &Annotations,
    ) -> Result<(), Status> {
        let selector = match info.verb.as_str() {
            "list" | "watch" | "deletecollection" => selector(query),
            _ => FieldSelector::default(),
        };
        let terms = equalities(&selector);
        let attributes = attributes(user, &info.verb, info, &terms);
        let began = Instant::now();
        let verdict = self.inner.authorizer.authorize(&attributes);
        self.inner.metrics.identities.authorized(verdict.is_allowed(), began.elapsed());
        let decision = if verdict.is_allowed() { "allow" } else { "forbid" };
        annotations.add(DECISION, || decision.to_owned());
        annotations.add(REASON, || verdict.reason.as_deref().unwrap_or_default().to_owned());
        judged(info, &attributes, &verdict)
    }

    /// May the user `create` on the subresource, whatever the method?
    pub(crate) fn authorize_create(&self, user: &UserInfo, info: &RequestInfo) -> Result<(), Status> {
        let attributes = attributes(user, "create", info, &[]);
        judged(info, &attributes, &self.inner.authorizer.authorize(&attributes))
    }
}

fn judged(info: &RequestInfo, attributes: &Attributes<'_>, verdict: &Verdict) -> Result<(), Status> {
    if verdict.is_allowed() {
        return Ok(());
    }
    let about = GroupResource::new(info.group.clone(), info.resource.clone());
    Err(Status::forbidden(&about, &info.name, attributes.forbidden_message(verdict.reason.as_deref())))
}

/// What an authorizer or the audit policy is asked about a request.
pub(crate) fn attributes<'a>(
    user: &'a UserInfo,
    verb: &'a str,
    info: &'a RequestInfo,
    field_terms: &'a [FieldTerm<'a>],
) -> Attributes<'a> {
    if !info.is_resource {
        return Attributes::path(user, verb, &info.path);
    }
    let resource = Resource {
        group: &info.group,
        resource: &info.resource,
        subresource: &info.subresource,
        namespace: &info.namespace,
        name: &info.name,
        field_terms,
    };
    Attributes::resource(user, verb, resource)
}

/// The field selector as the registry will read it. One that cannot be read narrows nothing here, and is refused there.
fn selector(query: &Query) -> FieldSelector {
    FieldSelector::parse(query.first("fieldSelector").unwrap_or_default()).unwrap_or_default()
}

/// Its `field=value` terms.
fn equalities(selector: &FieldSelector) -> Vec<FieldTerm<'_>> {
    let equal = selector.terms.iter().filter(|term| term.equal);
    equal.map(|term| FieldTerm { field: &term.field, value: &term.value }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_equalities_count_and_as_the_registry_reads_them() {
        let rows: [(&str, &[(&str, &str)]); 3] = [
            ("spec.nodeName%3Da,status.phase%21%3DFailed,x%3D%3Dy", &[("spec.nodeName", "a"), ("x", "y")]),
            ("metadata.name%3Dp%5C%2Cspec.nodeName", &[("metadata.name", "p,spec.nodeName")]),
            // Not to be read, so it says nothing.
            ("metadata.name%21%3Dp%5C%2Cspec.nodeName%3Da", &[]),
        ];
        for (text, wanted) in rows {
            let parsed = selector(&Query::parse(&format!("fieldSelector={text}")));
            let terms: Vec<_> = equalities(&parsed).iter().map(|term| (term.field, term.value)).collect();
            assert_eq!(terms, wanted, "{text}");
        }
    }
}
