//! `Impersonate-*` headers: acting as somebody else, where RBAC grants the verb `impersonate` on them.
//!
//! Source of the rules: "User impersonation" of the authentication page.

use crate::server::ApiServer;
use http::HeaderMap;
use keelson_auth::{
    UserInfo,
    authz::{Attributes, Resource},
    user::{names, service_account_groups},
};
use keelson_registry::status::{GroupResource, Status};
use percent_encoding::percent_decode_str;
use std::sync::Arc;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA_PREFIX: &str = "impersonate-extra-";
/// The group of the resources `uids` and `userextras`.
const AUTHENTICATION_GROUP: &str = "authentication.k8s.io";

/// The user that the request acts as: the impersonated one, or `real` when there are no such headers.
pub(super) async fn apply(
    server: &ApiServer,
    real: Arc<UserInfo>,
    headers: &HeaderMap,
) -> Result<Arc<UserInfo>, Status> {
    if !headers.keys().any(|name| name.as_str().starts_with("impersonate-")) {
        return Ok(real);
    }
    let wanted = read(headers)?;
    check(server, &real, &wanted).await?;
    Ok(Arc::new(complete(wanted)))
}

/// What the headers ask for, without the groups that follow from it.
fn read(headers: &HeaderMap) -> Result<UserInfo, Status> {
    let mut wanted = UserInfo::default();
    for (name, value) in headers {
        let Ok(value) = value.to_str() else {
            return Err(Status::bad_request(format!("the header {name} is not text")));
        };
        match name.as_str() {
            USER => value.clone_into(&mut wanted.name),
            UID => value.clone_into(&mut wanted.uid),
            GROUP => wanted.groups.push(value.to_owned()),
            other => {
                if let Some(key) = other.strip_prefix(EXTRA_PREFIX) {
                    let key = percent_decode_str(key).decode_utf8_lossy().into_owned();
                    wanted.extra.entry(key).or_default().push(value.to_owned());
                }
            }
        }
    }
    if wanted.name.is_empty() {
        return Err(Status::bad_request("requested impersonation without impersonating a user name"));
    }
    Ok(wanted)
}

async fn check(server: &ApiServer, real: &UserInfo, wanted: &UserInfo) -> Result<(), Status> {
    let mut asked: Vec<Resource<'_>> = Vec::new();
    match wanted.service_account() {
        Some((namespace, name)) => {
            asked.push(Resource { resource: "serviceaccounts", namespace, name, ..Resource::default() })
        }
        None => asked.push(Resource { resource: "users", name: &wanted.name, ..Resource::default() }),
    }
    asked.extend(wanted.groups.iter().map(|name| Resource {
        resource: "groups",
        name,
        ..Resource::default()
    }));
    if !wanted.uid.is_empty() {
        asked.push(Resource {
            group: AUTHENTICATION_GROUP,
            version: "v1",
            resource: "uids",
            name: &wanted.uid,
            ..Resource::default()
        });
    }
    for (key, values) in &wanted.extra {
        asked.extend(values.iter().map(|name| Resource {
            group: AUTHENTICATION_GROUP,
            version: "v1",
            resource: "userextras",
            subresource: key,
            name,
            ..Resource::default()
        }));
    }
    for resource in asked {
        let attributes = Attributes::resource(real, "impersonate", resource);
        let verdict = server.inner.authorizer.decide(&attributes).await;
        if !verdict.is_allowed() {
            let about = GroupResource::new(resource.group.to_owned(), resource.resource.to_owned());
            return Err(Status::forbidden(
                &about,
                resource.name,
                attributes.forbidden_message(verdict.reason.as_deref()),
            ));
        }
    }
    Ok(())
}

/// Adds the groups that every identity of the sort has.
fn complete(mut user: UserInfo) -> UserInfo {
    if user.groups.is_empty()
        && let Some((namespace, _)) = user.service_account()
    {
        user.groups = service_account_groups(namespace).to_vec();
    }
    let own = if user.name == names::ANONYMOUS_USER {
        names::UNAUTHENTICATED_GROUP
    } else {
        names::AUTHENTICATED_GROUP
    };
    let either = [names::AUTHENTICATED_GROUP, names::UNAUTHENTICATED_GROUP];
    if !either.iter().any(|group| user.in_group(group)) {
        user.groups.push(own.to_owned());
    }
    user
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_account_gets_its_groups() {
        let user = complete(UserInfo { name: "system:serviceaccount:ns:sa".into(), ..UserInfo::default() });
        assert_eq!(
            user.groups,
            ["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"]
        );
    }

    #[test]
    fn groups_alone_are_refused() {
        let headers = HeaderMap::from_iter([(http::HeaderName::from_static(GROUP), "x".parse().unwrap())]);
        assert_eq!(read(&headers).unwrap_err().code, 400);
    }
}
