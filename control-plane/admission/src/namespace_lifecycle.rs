//! NamespaceLifecycle: nothing is created in a namespace that is missing or going, and three namespaces never go.

use async_trait::async_trait;
use keelson_registry::status::StatusCause;
use keelson_registry::{Attributes, Operation, Status};
use serde_json::Value;

use crate::plugin::{Plugin, forbidden, is};
use crate::{Lookup, NamespaceState};

/// Namespaces that may not be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub(crate) struct NamespaceLifecycle;

#[async_trait]
impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        // An access review must not tell whether a namespace exists.
        let is_review = is(attributes, "authorization.k8s.io", "localsubjectaccessreviews");
        !is_review && (!attributes.namespace.is_empty() || is_namespace(attributes))
    }

    async fn mutate(
        &self,
        attributes: &Attributes<'_>,
        object: &mut Value,
        lookup: &dyn Lookup,
    ) -> Result<(), Status> {
        if is_namespace(attributes) {
            return Ok(());
        }
        let namespace = attributes.namespace;
        match (lookup.namespace(namespace).await?, attributes.operation) {
            (NamespaceState::Missing, _) => Err(Status::not_found(
                &keelson_registry::status::GroupResource::new("", "namespaces"),
                namespace,
            )),
            (NamespaceState::Terminating, Operation::Create) => Err(terminating(attributes, object)),
            _ => Ok(()),
        }
    }

    async fn admit_delete(&self, attributes: &Attributes<'_>, _: &dyn Lookup) -> Result<(), Status> {
        match is_namespace(attributes) && IMMORTAL.contains(&attributes.name) {
            true => Err(forbidden(attributes, None, "this namespace may not be deleted")),
            false => Ok(()),
        }
    }
}

fn is_namespace(attributes: &Attributes<'_>) -> bool {
    is(attributes, "", "namespaces")
}

/// Clients that recreate things, such as Helm and controllers, tell this refusal from others by its cause.
fn terminating(attributes: &Attributes<'_>, object: &Value) -> Status {
    let namespace = attributes.namespace;
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut status = forbidden(attributes, Some(object), why);
    if let Some(details) = &mut status.details {
        details.causes.push(StatusCause {
            reason: "NamespaceTerminating".to_owned(),
            message: format!("namespace {namespace} is being terminated"),
            field: "metadata.namespace".to_owned(),
        });
    }
    status
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{Cluster, Request};

    #[tokio::test]
    async fn content_needs_a_namespace_that_stays() {
        let cluster = Cluster::default()
            .namespace("ns", NamespaceState::Active)
            .namespace("old", NamespaceState::Terminating);
        let create =
            |namespace| Request::create("", "configmaps", namespace, json!({ "metadata": { "name": "c" } }));
        assert!(create("ns").mutate(&NamespaceLifecycle, &cluster).await.is_ok());
        let missing = create("none").mutate(&NamespaceLifecycle, &cluster).await.unwrap_err();
        assert_eq!((missing.code, missing.message.as_str()), (404, r#"namespaces "none" not found"#));
        let going = create("old").mutate(&NamespaceLifecycle, &cluster).await.unwrap_err();
        assert_eq!(
            (going.code, going.message.as_str()),
            (
                403,
                r#"configmaps "c" is forbidden: unable to create new content in namespace old because it is being terminated"#
            )
        );
        assert_eq!(going.details.unwrap().causes[0].reason, "NamespaceTerminating");
        assert!(create("old").update(json!({})).mutate(&NamespaceLifecycle, &cluster).await.is_ok());
    }

    #[tokio::test]
    async fn three_namespaces_are_immortal() {
        for (name, refused) in
            [("default", true), ("kube-system", true), ("kube-public", true), ("kube-node-lease", false)]
        {
            let result = Request::delete("", "namespaces", "", name)
                .admit_delete(&NamespaceLifecycle, &Cluster::default())
                .await;
            assert_eq!(result.is_err(), refused, "{name}");
            if let Err(status) = result {
                assert_eq!(
                    status.message,
                    format!("namespaces \"{name}\" is forbidden: this namespace may not be deleted")
                );
            }
        }
    }
}
