//! Asks the authorizer about a request and words the refusal. The authorizers themselves are in keelson-auth.

use crate::{
    request::{info::RequestInfo, query::Query},
    server::ApiServer,
};
use keelson_auth::{
    UserInfo,
    authz::{Attributes, FieldTerm, Resource},
};
use keelson_registry::status::{GroupResource, Status};

impl ApiServer {
    /// May the user do what the request asks for? Err is the 403.
    pub(crate) fn authorize(&self, user: &UserInfo, info: &RequestInfo, query: &Query) -> Result<(), Status> {
        let terms = match info.verb.as_str() {
            "list" | "watch" | "deletecollection" => field_terms(query),
            _ => Vec::new(),
        };
        self.decide(user, &info.verb, info, &terms)
    }

    /// May the user `create` on the subresource, whatever the method?
    pub(crate) fn authorize_create(&self, user: &UserInfo, info: &RequestInfo) -> Result<(), Status> {
        self.decide(user, "create", info, &[])
    }

    fn decide(
        &self,
        user: &UserInfo,
        verb: &str,
        info: &RequestInfo,
        terms: &[FieldTerm<'_>],
    ) -> Result<(), Status> {
        let attributes = if info.is_resource {
            let resource = Resource {
                group: &info.group,
                resource: &info.resource,
                subresource: &info.subresource,
                namespace: &info.namespace,
                name: &info.name,
                field_terms: terms,
            };
            Attributes::resource(user, verb, resource)
        } else {
            Attributes::path(user, verb, &info.path)
        };
        let verdict = self.inner.authorizer.authorize(&attributes);
        if verdict.is_allowed() {
            return Ok(());
        }
        let about = GroupResource::new(info.group.clone(), info.resource.clone());
        Err(Status::forbidden(&about, &info.name, attributes.forbidden_message(verdict.reason.as_deref())))
    }
}

/// The `field=value` terms of the field selector.
fn field_terms(query: &Query) -> Vec<FieldTerm<'_>> {
    let selector = query.first("fieldSelector").unwrap_or_default();
    selector
        .split(',')
        .filter_map(|term| {
            let (field, value) = term.split_once('=')?;
            // `!=` is no equality, `==` is the same as `=`.
            (!field.ends_with('!'))
                .then(|| FieldTerm { field, value: value.strip_prefix('=').unwrap_or(value) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_equalities_count() {
        let query = Query::parse("fieldSelector=spec.nodeName%3Da,status.phase%21%3DFailed,x%3D%3Dy");
        let terms = field_terms(&query);
        assert_eq!(
            terms,
            [FieldTerm { field: "spec.nodeName", value: "a" }, FieldTerm { field: "x", value: "y" }]
        );
    }
}
