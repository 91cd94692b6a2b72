//! What an authorizer is asked about an impersonation in one mode.

use super::mode::{self, Mode, Sort};
use crate::server::ApiServer;
use keelson_auth::{
    UserInfo,
    authz::{Attributes, Request, Resource},
    user::{names, service_account_groups, service_account_named},
};
use keelson_registry::{
    status::{GroupResource, Status},
    validate,
};
use keelson_schema::field::Path;
use std::time::Instant;

/// The group of what constrained impersonation asks about, and of `uids` and `userextras` in the legacy mode.
const AUTHENTICATION_GROUP: &str = "authentication.k8s.io";
/// Stands for all names: so many groups or values of extra are asked about at once first.
const ALL: &str = "*";
const MANY: usize = 4;
/// What the authorizer sees of a ServiceAccount that acts as its own node: which extra it has, not what it says. The same answer
/// then holds on every node.
const EXTRA_KEYS: &str = "authentication.kubernetes.io/associated-node-keys";

/// Asks about one mode.
pub(super) struct Asker<'a> {
    pub(super) server: &'a ApiServer,
    pub(super) mode: &'a Mode,
}

impl Asker<'_> {
    /// The user that the request acts as, if this mode allows it.
    pub(super) async fn user(&self, wanted: &UserInfo, request: &Attributes<'_>) -> Result<UserInfo, Status> {
        let seen = (self.mode.sort == Sort::AssociatedNode).then(|| without_values(request.user));
        let real = seen.as_ref().unwrap_or(request.user);
        if self.mode.is_constrained() {
            let verb = format!("impersonate-on:{}:{}", self.mode.name, request.verb);
            self.ask(&Attributes { user: real, verb: &verb, request: request.request }).await?;
        }
        let user = self.name(wanted, real).await?;
        if !wanted.uid.is_empty() {
            self.ask_about(real, Resource { resource: "uids", name: &wanted.uid, ..authentication() })
                .await?;
        }
        self.groups(&wanted.groups, real).await?;
        self.extra(wanted, real).await?;
        Ok(completed(user))
    }

    /// May his name be taken? The user, with the groups that follow from the name.
    async fn name(&self, wanted: &UserInfo, real: &UserInfo) -> Result<UserInfo, Status> {
        let mut user = wanted.clone();
        let mut about = Resource { resource: "users", name: &wanted.name, ..self.names() };
        if self.mode.is_constrained()
            && let Some(node) = mode::node(&wanted.name)
        {
            let name = if self.mode.sort == Sort::AssociatedNode { ALL } else { node };
            about = Resource { resource: "nodes", name, ..about };
            user.groups = vec![names::NODES_GROUP.to_owned()];
        } else if let Some((namespace, name)) = service_account_named(&wanted.name) {
            about = Resource { resource: "serviceaccounts", namespace, name, ..about };
            if wanted.groups.is_empty() {
                user.groups = service_account_groups(namespace).to_vec();
            }
        }
        self.ask_about(real, about).await?;
        Ok(user)
    }

    async fn groups(&self, groups: &[String], real: &UserInfo) -> Result<(), Status> {
        let about = |name| Resource { resource: "groups", name, ..self.names() };
        if self.mode.is_constrained() {
            let refused = |name, why: &str| Err(self.refusal(&self.attributes(real, about(name)), Some(why)));
            if groups.iter().any(String::is_empty) {
                return refused("", "impersonating the empty string group is not allowed");
            }
            if groups.iter().any(|group| group == names::MASTERS_GROUP) {
                return refused(
                    names::MASTERS_GROUP,
                    "impersonating the system:masters group is not allowed",
                );
            }
            if groups.len() >= MANY && self.ask_about(real, about(ALL)).await.is_ok() {
                return Ok(());
            }
        }
        for group in groups {
            self.ask_about(real, about(group)).await?;
        }
        Ok(())
    }

    async fn extra(&self, wanted: &UserInfo, real: &UserInfo) -> Result<(), Status> {
        let about =
            |subresource, name| Resource { resource: "userextras", subresource, name, ..authentication() };
        if self.mode.is_constrained() {
            if let Err(why) = wanted.extra.iter().try_for_each(|(key, values)| well_formed(key, values)) {
                return Err(self.refusal(&self.attributes(real, about("", "")), Some(&why)));
            }
            let many = wanted.extra.values().map(Vec::len).sum::<usize>() >= MANY;
            if many && self.ask_about(real, about(ALL, ALL)).await.is_ok() {
                return Ok(());
            }
        }
        for (key, values) in &wanted.extra {
            for value in values {
                self.ask_about(real, about(key, value)).await?;
            }
        }
        Ok(())
    }

    /// Where names of users and groups are.
    fn names(&self) -> Resource<'static> {
        match self.mode.is_constrained() {
            true => authentication(),
            false => Resource { version: "v1", ..Resource::default() },
        }
    }

    fn attributes<'a>(&self, real: &'a UserInfo, about: Resource<'a>) -> Attributes<'a> {
        Attributes::resource(real, self.mode.verb, about)
    }

    async fn ask_about(&self, real: &UserInfo, about: Resource<'_>) -> Result<(), Status> {
        self.ask(&self.attributes(real, about)).await
    }

    async fn ask(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let inner = &self.server.inner;
        let began = Instant::now();
        let verdict = inner.authorizer.decide(attributes).await;
        inner.metrics.impersonations.asked(self.mode.name, verdict.is_allowed(), began.elapsed());
        if verdict.is_allowed() {
            return Ok(());
        }
        let why = match (&verdict.error, verdict.reason.as_deref().filter(|reason| !reason.is_empty())) {
            (Some(error), Some(reason)) => Some(format!("{error}: {reason}")),
            (Some(error), None) => Some(error.to_string()),
            (None, reason) => reason.map(str::to_owned),
        };
        Err(self.refusal(attributes, why.as_deref()))
    }

    fn refusal(&self, attributes: &Attributes<'_>, why: Option<&str>) -> Status {
        let message = attributes.forbidden_message(why);
        match &attributes.request {
            Request::NonResource(_) => Status::forbidden(&GroupResource::new("", ""), "", message),
            Request::Resource(about) => {
                let group = GroupResource::new(about.group.to_owned(), about.resource.to_owned());
                Status::forbidden(&group, about.name, message)
            }
        }
    }
}

const fn authentication() -> Resource<'static> {
    Resource {
        group: AUTHENTICATION_GROUP,
        version: "v1",
        resource: "",
        subresource: "",
        namespace: "",
        name: "",
        fields: None,
        labels: None,
    }
}

fn without_values(real: &UserInfo) -> UserInfo {
    let keys = real.extra.keys().cloned().collect();
    UserInfo { extra: [(EXTRA_KEYS.to_owned(), keys)].into(), ..real.clone() }
}

/// What constrained modes ask of extra, which legacy's never did.
fn well_formed(key: &str, values: &[String]) -> Result<(), String> {
    if key.is_empty() {
        return Err("impersonating the empty string key in extra is not allowed".to_owned());
    }
    let errors = validate::domain_prefixed(&Path::new("extra.key"), key);
    if !errors.is_empty() {
        let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let told = if let [one] = &told[..] { one.clone() } else { format!("[{}]", told.join(", ")) };
        return Err(format!("impersonating an invalid key in extra is not allowed: {told}"));
    }
    if key.chars().any(char::is_uppercase) {
        return Err(format!("impersonating a non-lowercase key in extra is not allowed: {key:?}"));
    }
    if values.iter().any(String::is_empty) {
        return Err("impersonating the empty string value in extra is not allowed".to_owned());
    }
    Ok(())
}

/// Adds the group that everybody has.
fn completed(mut user: UserInfo) -> UserInfo {
    let group = match user.name == names::ANONYMOUS_USER {
        true => names::UNAUTHENTICATED_GROUP,
        false if user.in_group(names::UNAUTHENTICATED_GROUP) => return user,
        false => names::AUTHENTICATED_GROUP,
    };
    if !user.in_group(group) {
        user.groups.push(group.to_owned());
    }
    user
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_authenticated_or_not() {
        let rows: [(&str, &[&str], &[&str]); 4] = [
            ("jane", &["dev"], &["dev", "system:authenticated"]),
            ("jane", &["system:unauthenticated"], &["system:unauthenticated"]),
            ("system:anonymous", &[], &["system:unauthenticated"]),
            (
                "system:anonymous",
                &["system:authenticated"],
                &["system:authenticated", "system:unauthenticated"],
            ),
        ];
        for (name, groups, wanted) in rows {
            let groups = groups.iter().map(|group| (*group).to_owned()).collect();
            let user = completed(UserInfo { name: name.to_owned(), groups, ..UserInfo::default() });
            assert_eq!(user.groups, wanted, "{name}");
        }
    }

    #[test]
    fn extra_has_to_be_well_formed() {
        let rows: [(&str, &str, &str); 5] = [
            ("example.com/scopes", "v", ""),
            ("", "v", "impersonating the empty string key in extra is not allowed"),
            (
                "scopes",
                "v",
                r#"impersonating an invalid key in extra is not allowed: extra.key: Invalid value: "scopes": must be a domain-prefixed path (such as "acme.io/foo")"#,
            ),
            (
                "example.com/Scopes",
                "v",
                r#"impersonating a non-lowercase key in extra is not allowed: "example.com/Scopes""#,
            ),
            ("example.com/scopes", "", "impersonating the empty string value in extra is not allowed"),
        ];
        for (key, value, wanted) in rows {
            let said = well_formed(key, &[value.to_owned()]).err().unwrap_or_default();
            assert_eq!(said, wanted, "{key:?}: {value:?}");
        }
    }
}
