//! The ways of impersonating, and to whom each applies.

use keelson_auth::{UserInfo, user::service_account_named};
use keelson_semantics::names::dns1123_subdomain;

const NODE_USER_PREFIX: &str = "system:node:";
/// In the extra of a ServiceAccount whose token is bound to a pod: the pod's node.
const NODE_OF_POD: &str = "authentication.kubernetes.io/node-name";

/// One way of impersonating.
pub(super) struct Mode {
    pub(super) sort: Sort,
    /// As metrics call it.
    pub(super) name: &'static str,
    /// What has to be granted on the user.
    pub(super) verb: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// A ServiceAccount as the node that its pod runs on.
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    /// Whoever is neither node nor ServiceAccount.
    UserInfo,
    Legacy,
}

/// In the order in which they are tried.
pub(super) const MODES: [Mode; 5] = [
    Mode { sort: Sort::AssociatedNode, name: "associated-node", verb: "impersonate:associated-node" },
    Mode { sort: Sort::ArbitraryNode, name: "arbitrary-node", verb: "impersonate:arbitrary-node" },
    Mode { sort: Sort::ServiceAccount, name: "serviceaccount", verb: "impersonate:serviceaccount" },
    Mode { sort: Sort::UserInfo, name: "user-info", verb: "impersonate:user-info" },
    Mode { sort: Sort::Legacy, name: "legacy", verb: "impersonate" },
];

impl Mode {
    pub(super) fn is_constrained(&self) -> bool {
        self.sort != Sort::Legacy
    }

    /// What the audit log says of it.
    pub(super) fn constraint(&self) -> Option<&'static str> {
        self.is_constrained().then_some(self.verb)
    }

    /// Whether this is a way for `real` to act as `wanted`, granted or not.
    pub(super) fn applies(&self, wanted: &UserInfo, real: &UserInfo) -> bool {
        let by_name = wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        let name = &wanted.name;
        match self.sort {
            Sort::AssociatedNode => by_name && node(name).is_some_and(|node| runs_on(real, node)),
            Sort::ArbitraryNode => by_name && node(name).is_some(),
            Sort::ServiceAccount => by_name && service_account_named(name).is_some(),
            Sort::UserInfo => node(name).is_none() && service_account_named(name).is_none(),
            Sort::Legacy => true,
        }
    }
}

/// The node that a user name speaks of.
pub(super) fn node(user: &str) -> Option<&str> {
    user.strip_prefix(NODE_USER_PREFIX).filter(|name| dns1123_subdomain(name).is_empty())
}

fn runs_on(real: &UserInfo, node: &str) -> bool {
    service_account_named(&real.name).is_some()
        && matches!(real.extra.get(NODE_OF_POD).map(Vec::as_slice), Some([own]) if own == node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> UserInfo {
        UserInfo { name: name.to_owned(), ..UserInfo::default() }
    }

    fn ways(wanted: &UserInfo, real: &UserInfo) -> Vec<Sort> {
        MODES.iter().filter(|mode| mode.applies(wanted, real)).map(|mode| mode.sort).collect()
    }

    #[test]
    fn a_way_is_for_those_that_it_is_made_for() {
        use Sort::{ArbitraryNode, AssociatedNode, Legacy, ServiceAccount, UserInfo as Other};
        let mut agent = named("system:serviceaccount:ns:agent");
        agent.extra.insert(NODE_OF_POD.to_owned(), vec!["n1".to_owned()]);
        let rows: [(&str, &[Sort]); 6] = [
            ("system:node:n1", &[AssociatedNode, ArbitraryNode, Legacy]),
            ("system:node:n2", &[ArbitraryNode, Legacy]),
            ("system:node:N_1", &[Other, Legacy]),
            ("system:serviceaccount:ns:a", &[ServiceAccount, Legacy]),
            ("system:serviceaccount:NS:a", &[Other, Legacy]),
            ("jane", &[Other, Legacy]),
        ];
        for (name, wanted) in rows {
            assert_eq!(ways(&named(name), &agent), wanted, "{name}");
        }
        assert_eq!(ways(&named("system:node:n1"), &named("bob")), [ArbitraryNode, Legacy]);
        for name in ["system:node:n1", "system:serviceaccount:ns:a"] {
            let grouped = UserInfo { groups: vec!["g".to_owned()], ..named(name) };
            assert_eq!(ways(&grouped, &agent), [Legacy], "{name}");
        }
    }
}
