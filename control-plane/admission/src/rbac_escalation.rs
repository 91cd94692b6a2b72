//! Nobody grants more than they have. Upstream checks this in the storage of the RBAC kinds; here it is a plugin, since only
//! admission sees who asks. It runs last among those that change, on what will be stored.

use std::sync::Arc;

use async_trait::async_trait;
use keelson_auth::Authorizer;
use keelson_auth::authz::rbac::escalation::{Escalation, RbacWrite, check};
use keelson_registry::status::GroupResource;
use keelson_registry::{Attributes, Operation, Status};
use serde_json::Value;

use crate::Lookup;
use crate::plugin::{Plugin, forbidden, object_name};

const GROUP: &str = "rbac.authorization.k8s.io";

pub(crate) struct RbacEscalation {
    pub(crate) authorizer: Arc<Authorizer>,
}

#[async_trait]
impl Plugin for RbacEscalation {
    fn name(&self) -> &'static str {
        "RbacEscalation"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.kind.group == GROUP
            && matches!(attributes.operation, Operation::Create | Operation::Update)
    }

    async fn mutate(
        &self,
        attributes: &Attributes<'_>,
        object: &mut Value,
        _: &dyn Lookup,
    ) -> Result<(), Status> {
        let write = RbacWrite {
            resource: &attributes.kind.plural,
            namespace: attributes.namespace,
            name: object_name(attributes, Some(object)),
            new: object,
            old: attributes.old.filter(|_| attributes.operation == Operation::Update),
        };
        check(&self.authorizer, attributes.user, &write).await.map_err(|error| match error {
            Escalation::Forbidden(why) => forbidden(attributes, Some(object), why),
            Escalation::RoleNotFound { resource, name } => {
                Status::not_found(&GroupResource::new(GROUP, resource), &name)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{Cluster, Request};

    #[tokio::test]
    async fn granting_what_one_has_not_is_refused() {
        let plugin = RbacEscalation { authorizer: Arc::new(Authorizer::new()) };
        let role = json!({
            "metadata": { "name": "r" },
            "rules": [{ "verbs": ["get"], "apiGroups": [""], "resources": ["pods"] }],
        });
        let create = || Request::create(GROUP, "roles", "ns", role.clone());
        let error = create().mutate(&plugin, &Cluster::default()).await.unwrap_err();
        assert_eq!(error.code, 403);
        assert!(error.message.starts_with(
            r#"roles.rbac.authorization.k8s.io "r" is forbidden: user "jane" (groups=["dev" "system:authenticated"]) is attempting to grant"#
        ), "{}", error.message);
        assert!(create().by("root", "system:masters").mutate(&plugin, &Cluster::default()).await.is_ok());

        let binding =
            json!({ "metadata": { "name": "b" }, "roleRef": { "kind": "ClusterRole", "name": "x" } });
        let request = Request::create(GROUP, "clusterrolebindings", "", binding);
        let error = request.mutate(&plugin, &Cluster::default()).await.unwrap_err();
        assert_eq!(
            (error.code, error.message.as_str()),
            (404, r#"clusterroles.rbac.authorization.k8s.io "x" not found"#)
        );
    }
}
