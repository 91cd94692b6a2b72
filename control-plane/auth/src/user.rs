//! The identity that a request carries, and the names that Kubernetes reserves for its own identities.
//!
//! Who proves an identity is the business of `authn`, what it may do of `authz`.

use keelson_semantics::names::{dns1123_label, dns1123_subdomain};
use std::collections::BTreeMap;

/// Groups and users with a meaning of their own (<https://kubernetes.io/docs/reference/access-authn-authz/rbac/>).
pub mod names {
    /// May do everything; the one group that the authorizers never refuse.
    pub const MASTERS_GROUP: &str = "system:masters";
    /// Every identity that was proven.
    pub const AUTHENTICATED_GROUP: &str = "system:authenticated";
    /// Every request without an identity.
    pub const UNAUTHENTICATED_GROUP: &str = "system:unauthenticated";
    /// The user that a request without an identity is.
    pub const ANONYMOUS_USER: &str = "system:anonymous";
    /// All node daemons.
    pub const NODES_GROUP: &str = "system:nodes";
    /// What the user name of a node daemon starts with; the node's name follows.
    pub const NODE_USER_PREFIX: &str = "system:node:";
    /// What the user name of a ServiceAccount starts with; `namespace:name` follows.
    pub const SERVICE_ACCOUNT_USER_PREFIX: &str = "system:serviceaccount:";
    /// All ServiceAccounts; with `:namespace` appended, those of one namespace.
    pub const SERVICE_ACCOUNTS_GROUP: &str = "system:serviceaccounts";
    /// The scheduler.
    pub const SCHEDULER_USER: &str = "system:kube-scheduler";
    /// The controllers.
    pub const CONTROLLER_MANAGER_USER: &str = "system:kube-controller-manager";
    /// The apiserver itself, when it acts on its own objects.
    pub const APISERVER_USER: &str = "system:apiserver";
}

/// Who sent a request, as the authenticators found it and as authorizers and admission judge it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct UserInfo {
    /// The user name, unique among active users.
    pub name: String,
    /// An identifier that changes when the name is reused; empty where the authenticator knows none.
    pub uid: String,
    /// The groups that the user is in.
    pub groups: Vec<String>,
    /// Further facts by the authenticator, by lower-case key.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// A proven identity: `system:authenticated` is added to the groups.
    pub fn authenticated(
        name: impl Into<String>,
        groups: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let mut groups: Vec<String> = groups.into_iter().map(Into::into).collect();
        if !groups.iter().any(|group| group == names::AUTHENTICATED_GROUP) {
            groups.push(names::AUTHENTICATED_GROUP.to_owned());
        }
        Self { name: name.into(), groups, ..Self::default() }
    }

    /// The identity of a request that brought no credentials.
    pub fn anonymous() -> Self {
        Self {
            name: names::ANONYMOUS_USER.to_owned(),
            groups: vec![names::UNAUTHENTICATED_GROUP.to_owned()],
            ..Self::default()
        }
    }

    /// Is the user in this group?
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }

    /// May the user do everything (is it in `system:masters`)?
    pub fn is_master(&self) -> bool {
        self.in_group(names::MASTERS_GROUP)
    }

    /// The node that this identity speaks for: both the user name and the group must say so.
    pub fn node_name(&self) -> Option<&str> {
        let node = self.name.strip_prefix(names::NODE_USER_PREFIX)?;
        (!node.is_empty() && self.in_group(names::NODES_GROUP)).then_some(node)
    }
}

/// Namespace and name of the ServiceAccount that a user name speaks of; both have to be names that there can be.
pub fn service_account_named(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(names::SERVICE_ACCOUNT_USER_PREFIX)?.split_once(':')?;
    (dns1123_label(namespace).is_empty() && dns1123_subdomain(name).is_empty()).then_some((namespace, name))
}

/// The user name of a ServiceAccount.
pub fn service_account_user(namespace: &str, name: &str) -> String {
    format!("{}{namespace}:{name}", names::SERVICE_ACCOUNT_USER_PREFIX)
}

/// The groups of a ServiceAccount, without `system:authenticated`.
pub fn service_account_groups(namespace: &str) -> [String; 2] {
    [names::SERVICE_ACCOUNTS_GROUP.to_owned(), format!("{}:{namespace}", names::SERVICE_ACCOUNTS_GROUP)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_needs_both_the_name_and_the_group() {
        assert_eq!(UserInfo::authenticated("system:node:a", ["system:nodes"]).node_name(), Some("a"));
        assert_eq!(UserInfo::authenticated("system:node:a", ["x"]).node_name(), None);
        assert_eq!(UserInfo::authenticated("system:node:", ["system:nodes"]).node_name(), None);
        assert_eq!(UserInfo::authenticated("a", ["system:nodes"]).node_name(), None);
    }

    #[test]
    fn a_service_account_is_named_by_namespace_and_name() {
        let user = UserInfo::authenticated(service_account_user("ns", "sa"), service_account_groups("ns"));
        assert_eq!(service_account_named(&user.name), Some(("ns", "sa")));
        assert!(user.in_group("system:serviceaccounts:ns"));
        for nobody in
            ["system:serviceaccount:ns:a:b", "system:serviceaccount:NS:a", "system:serviceaccount::a", "a"]
        {
            assert_eq!(service_account_named(nobody), None, "{nobody}");
        }
    }

    #[test]
    fn nobody_is_authenticated_twice_or_by_accident() {
        let user = UserInfo::authenticated("a", ["system:authenticated"]);
        assert_eq!(user.groups, ["system:authenticated"]);
        assert!(!UserInfo::anonymous().in_group(names::AUTHENTICATED_GROUP));
    }
}
