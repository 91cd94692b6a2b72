//! NodeRestriction: a node daemon writes its own node, its own lease and the status of its own pods.
//! (<https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction>)
//!
//! The node authorizer decides by verb and name; here is judged what only the content of a write tells.

mod nodes;
mod pods;

use async_trait::async_trait;
use keelson_registry::status::GroupResource;
use keelson_registry::{Attributes, Operation, Status};
use serde_json::Value;

use crate::plugin::{Plugin, forbidden, object_name, text};
use crate::{Lookup, Wanted};

const LEASE_NAMESPACE: &str = "kube-node-lease";

pub(crate) struct NodeRestriction;

#[async_trait]
impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.user.node_name().is_some() && attributes.operation != Operation::Connect
    }

    async fn mutate(
        &self,
        attributes: &Attributes<'_>,
        object: &mut Value,
        lookup: &dyn Lookup,
    ) -> Result<(), Status> {
        admit(attributes, Some(object), lookup).await
    }

    async fn admit_delete(&self, attributes: &Attributes<'_>, lookup: &dyn Lookup) -> Result<(), Status> {
        admit(attributes, None, lookup).await
    }
}

/// A refusal is a text for a 403, or another status as it is.
enum Refusal {
    Forbidden(String),
    Status(Status),
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Self::Forbidden(why)
    }
}

impl From<&str> for Refusal {
    fn from(why: &str) -> Self {
        Self::Forbidden(why.to_owned())
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

async fn admit(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    lookup: &dyn Lookup,
) -> Result<(), Status> {
    let Some(node) = attributes.user.node_name() else { return Ok(()) };
    let verdict = match (&*attributes.kind.group, &*attributes.kind.plural, attributes.subresource) {
        ("", "pods", "") => match (attributes.operation, object) {
            (Operation::Create, Some(pod)) => pods::create(node, pod, lookup).await,
            (Operation::Delete, _) => pods::delete(node, attributes.old),
            (operation, _) => Err(format!(
                "unexpected operation {:?}, node {node:?} can only create and delete mirror pods",
                operation.as_str()
            )
            .into()),
        },
        ("", "pods", "status") => pods::status(node, attributes, object),
        ("", "pods", "eviction") => pods::eviction(node, attributes, object, lookup).await,
        ("", "pods", other) => {
            Err(format!("unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed")
                .into())
        }
        ("", "nodes", _) => nodes::check(node, attributes, object),
        ("", "persistentvolumeclaims", _) => Err("may only update PVC status".into()),
        ("", "serviceaccounts", "token") => token(node, attributes, object, lookup).await,
        ("coordination.k8s.io", "leases", _) => lease(node, attributes, object),
        _ => Ok(()),
    };
    verdict.map_err(|refusal| match refusal {
        Refusal::Forbidden(why) => forbidden(attributes, object, why),
        Refusal::Status(status) => status,
    })
}

fn lease(node: &str, attributes: &Attributes<'_>, object: Option<&Value>) -> Result<(), Refusal> {
    if attributes.namespace != LEASE_NAMESPACE {
        return Err(format!("can only access leases in the {LEASE_NAMESPACE:?} system namespace").into());
    }
    match object_name(attributes, object) == node {
        true => Ok(()),
        false => Err("can only access node lease with the same name as the requesting node".into()),
    }
}

/// A node asks for tokens only on behalf of a pod that it runs.
async fn token(
    node: &str,
    attributes: &Attributes<'_>,
    request: Option<&Value>,
    lookup: &dyn Lookup,
) -> Result<(), Refusal> {
    let Some(request) = request.filter(|_| attributes.operation == Operation::Create) else { return Ok(()) };
    let at = |field: &str| text(request, &format!("/spec/boundObjectRef/{field}"));
    if at("apiVersion") != "v1" || at("kind") != "Pod" || at("name").is_empty() {
        return Err("node requested token not bound to a pod".into());
    }
    let uid = at("uid");
    if uid.is_empty() {
        return Err("node requested token with a pod binding without a uid".into());
    }
    let pod = pod(lookup, attributes.namespace, at("name")).await?;
    if text(&pod, "/metadata/uid") != uid {
        return Err(format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been \
             deleted and then recreated"
        )
        .into());
    }
    match text(&pod, "/spec/nodeName") == node {
        true => Ok(()),
        false => Err("node requested token bound to a pod scheduled on a different node".into()),
    }
}

async fn pod(lookup: &dyn Lookup, namespace: &str, name: &str) -> Result<Value, Refusal> {
    let pod = lookup.find(Wanted::Pod, namespace, name).await?;
    pod.ok_or_else(|| Refusal::Status(Status::not_found(&GroupResource::new("", "pods"), name)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{Cluster, Request};

    fn by_node(request: Request) -> Request {
        request.by("system:node:a", "system:nodes")
    }

    async fn why(request: Request, cluster: &Cluster) -> String {
        match by_node(request).mutate(&NodeRestriction, cluster).await {
            Ok(_) => "admitted".to_owned(),
            Err(status) => status
                .message
                .split_once(" is forbidden: ")
                .map_or(status.message.clone(), |(_, why)| why.to_owned()),
        }
    }

    fn token_for(name: &str, uid: &str) -> Request {
        let reference = json!({ "apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid });
        Request::create("", "serviceaccounts", "ns", json!({ "spec": { "boundObjectRef": reference } }))
            .at("token", "sa")
    }

    fn cluster() -> Cluster {
        let pod = |name: &str, node: &str| json!({ "metadata": { "namespace": "ns", "name": name, "uid": "1" }, "spec": { "nodeName": node } });
        Cluster::default()
            .with(Wanted::Pod, pod("own", "a"))
            .with(Wanted::Pod, pod("other", "b"))
            .with(Wanted::Node, json!({ "metadata": { "name": "a", "uid": "n" } }))
    }

    #[tokio::test]
    async fn tokens_are_for_pods_that_the_node_runs() {
        assert_eq!(why(token_for("own", "1"), &cluster()).await, "admitted");
        let rows = [
            (token_for("", "1"), "node requested token not bound to a pod"),
            (token_for("own", ""), "node requested token with a pod binding without a uid"),
            (token_for("other", "1"), "node requested token bound to a pod scheduled on a different node"),
            (token_for("gone", "1"), "pods \"gone\" not found"),
            (
                token_for("own", "2"),
                "the UID in the bound object reference (2) does not match the UID in record. The object might have been deleted and then recreated",
            ),
        ];
        for (request, wanted) in rows {
            assert_eq!(why(request, &cluster()).await, wanted);
        }
    }

    #[tokio::test]
    async fn a_lease_is_the_nodes_own() {
        let lease = |namespace, name: &str| {
            Request::create(
                "coordination.k8s.io",
                "leases",
                namespace,
                json!({ "metadata": { "name": name } }),
            )
        };
        assert_eq!(why(lease(LEASE_NAMESPACE, "a"), &cluster()).await, "admitted");
        assert_eq!(
            why(lease(LEASE_NAMESPACE, "b"), &cluster()).await,
            "can only access node lease with the same name as the requesting node"
        );
        assert_eq!(
            why(lease("ns", "a"), &cluster()).await,
            "can only access leases in the \"kube-node-lease\" system namespace"
        );
    }

    #[tokio::test]
    async fn pod_status_is_for_own_pods_and_changes_no_labels() {
        let write =
            |old: Value, new: Value| Request::create("", "pods", "ns", new).update(old).at("status", "p");
        let pod = |node: &str, labels: Value| json!({ "metadata": { "name": "p", "labels": labels }, "spec": { "nodeName": node } });
        let own = pod("a", json!({ "x": "y" }));
        assert_eq!(why(write(own.clone(), own.clone()), &cluster()).await, "admitted");
        assert_eq!(
            why(write(pod("b", json!({})), pod("b", json!({}))), &cluster()).await,
            "node \"a\" can only update pod status for pods with spec.nodeName set to itself"
        );
        assert_eq!(
            why(write(own, pod("a", json!({}))), &cluster()).await,
            "node \"a\" cannot update labels through pod status"
        );
        assert_eq!(
            why(Request::create("", "pods", "ns", json!({})).update(json!({})), &cluster()).await,
            "unexpected operation \"UPDATE\", node \"a\" can only create and delete mirror pods"
        );
    }

    #[tokio::test]
    async fn only_own_pods_are_deleted() {
        let delete = |node: &str| {
            by_node(Request::delete("", "pods", "ns", "p").with_old(json!({ "spec": { "nodeName": node } })))
        };
        assert!(delete("a").admit_delete(&NodeRestriction, &cluster()).await.is_ok());
        let error = delete("b").admit_delete(&NodeRestriction, &cluster()).await.unwrap_err();
        assert!(error.message.ends_with("node \"a\" can only delete pods with spec.nodeName set to itself"));
    }

    #[tokio::test]
    async fn mirror_pods_are_the_nodes_own_and_refer_to_nothing() {
        let mirror = |change: fn(&mut Value)| {
            let mut pod = json!({
                "metadata": {
                    "name": "m",
                    "annotations": { "kubernetes.io/config.mirror": "x" },
                    "ownerReferences": [{ "apiVersion": "v1", "kind": "Node", "name": "a", "uid": "n", "controller": true }],
                },
                "spec": { "nodeName": "a" },
            });
            change(&mut pod);
            Request::create("", "pods", "ns", pod)
        };
        assert_eq!(why(mirror(|_| {}), &cluster()).await, "admitted");
        type Change = fn(&mut Value);
        let rows: [(Change, &str); 7] = [
            (
                |pod| pod["metadata"]["annotations"] = json!({}),
                "pod does not have \"kubernetes.io/config.mirror\" annotation, node \"a\" can only create mirror pods",
            ),
            (
                |pod| pod["spec"]["nodeName"] = "b".into(),
                "node \"a\" can only create pods with spec.nodeName set to itself",
            ),
            (
                |pod| pod["metadata"]["ownerReferences"] = json!([]),
                "node \"a\" can only create pods with an owner reference set to itself",
            ),
            (
                |pod| pod["metadata"]["ownerReferences"][0]["controller"] = false.into(),
                "node \"a\" can only create pods with a controller owner reference set to itself",
            ),
            (
                |pod| pod["metadata"]["ownerReferences"][0]["uid"] = "m".into(),
                "node a UID mismatch: expected m got n",
            ),
            (
                |pod| pod["spec"]["serviceAccountName"] = "x".into(),
                "node \"a\" can not create pods that reference a service account",
            ),
            (
                |pod| pod["spec"]["volumes"] = json!([{ "configMap": { "name": "c" } }]),
                "node \"a\" can not create pods that reference configmaps",
            ),
        ];
        for (change, wanted) in rows {
            assert_eq!(why(mirror(change), &cluster()).await, wanted);
        }
    }

    #[tokio::test]
    async fn others_are_not_restricted() {
        let request = Request::create("", "nodes", "", json!({ "metadata": { "name": "b" } }));
        assert!(request.mutate(&NodeRestriction, &cluster()).await.is_ok());
    }
}
