//! NodeRestriction: a node daemon writes its own node, its own lease and the status of its own pods.
//! (<https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction>)
//!
//! The node authorizer decides by verb and name; here is judged what only the content of a write tells.

mod claims;
mod nodes;
mod pods;
mod tokens;

use std::sync::Arc;

use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_STANDARD};
use keelson_auth::Authorizer;
use keelson_auth::pki::CertificateRequest;
use keelson_auth::user::names::NODE_USER_PREFIX;
use keelson_registry::status::GroupResource;
use keelson_registry::{Attributes, Operation, Status};
use serde_json::Value;

use crate::plugin::{Plugin, forbidden, object_name, text};
use crate::{Lookup, Wanted};

const LEASE_NAMESPACE: &str = "kube-node-lease";

pub(crate) struct NodeRestriction {
    /// Says whether a node may ask for tokens of an audience that no volume of its pod names.
    pub(crate) authorizer: Arc<Authorizer>,
}

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
        self.admit(attributes, Some(object), lookup).await
    }

    async fn admit_delete(&self, attributes: &Attributes<'_>, lookup: &dyn Lookup) -> Result<(), Status> {
        self.admit(attributes, None, lookup).await
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

impl NodeRestriction {
    async fn admit(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        lookup: &dyn Lookup,
    ) -> Result<(), Status> {
        let Some(node) = attributes.user.node_name() else { return Ok(()) };
        let verdict = self.judge(node, attributes, object, lookup).await;
        verdict.map_err(|refusal| match refusal {
            Refusal::Forbidden(why) => forbidden(attributes, object, why),
            Refusal::Status(status) => status,
        })
    }

    async fn judge(
        &self,
        node: &str,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        lookup: &dyn Lookup,
    ) -> Result<(), Refusal> {
        match (&*attributes.kind.group, &*attributes.kind.plural, attributes.subresource) {
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
            ("", "persistentvolumeclaims", "status") => claims::status(node, attributes, object),
            ("", "persistentvolumeclaims", _) => Err("may only update PVC status".into()),
            ("", "serviceaccounts", "token") => {
                tokens::create(node, attributes, object, lookup, &self.authorizer).await
            }
            ("coordination.k8s.io", "leases", _) => lease(node, attributes, object),
            ("storage.k8s.io", "csinodes", _) => match object_name(attributes, object) == node {
                true => Ok(()),
                false => Err("can only access CSINode with the same name as the requesting node".into()),
            },
            ("resource.k8s.io", "resourceslices", _) => claims::slice(node, attributes, object),
            ("certificates.k8s.io", "certificatesigningrequests", "") => {
                signing_request(node, attributes, object)
            }
            _ => Ok(()),
        }
    }
}

/// A node asks for certificates in its own name alone. What else must hold is for the signers to say.
fn signing_request(node: &str, attributes: &Attributes<'_>, object: Option<&Value>) -> Result<(), Refusal> {
    const SIGNERS: [&str; 2] =
        ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];
    let Some(object) = object.filter(|_| attributes.operation == Operation::Create) else { return Ok(()) };
    if !SIGNERS.contains(&text(object, "/spec/signerName")) {
        return Ok(());
    }
    let pem = BASE64_STANDARD.decode(text(object, "/spec/request")).unwrap_or_default();
    let request = CertificateRequest::parse(&pem).map_err(|error| format!("unable to parse csr: {error}"))?;
    let own = format!("{NODE_USER_PREFIX}{node}");
    match request.common_name == own {
        true => Ok(()),
        false => Err(format!("can only create a node CSR with CN={own}").into()),
    }
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

async fn pod(lookup: &dyn Lookup, namespace: &str, name: &str) -> Result<Value, Refusal> {
    let pod = lookup.find(Wanted::Pod, namespace, name).await?;
    pod.ok_or_else(|| Refusal::Status(Status::not_found(&GroupResource::new("", "pods"), name)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{Cluster, Request};

    fn plugin() -> NodeRestriction {
        NodeRestriction { authorizer: Arc::new(Authorizer::new()) }
    }

    fn by_node(request: Request) -> Request {
        request.by("system:node:a", "system:nodes")
    }

    async fn why(request: Request, cluster: &Cluster) -> String {
        match by_node(request).mutate(&plugin(), cluster).await {
            Ok(_) => "admitted".to_owned(),
            Err(status) => status
                .message
                .split_once(" is forbidden: ")
                .map_or(status.message.clone(), |(_, why)| why.to_owned()),
        }
    }

    fn cluster() -> Cluster {
        Cluster::default().with(Wanted::Node, json!({ "metadata": { "name": "a", "uid": "n" } }))
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
        assert!(delete("a").admit_delete(&plugin(), &cluster()).await.is_ok());
        let error = delete("b").admit_delete(&plugin(), &cluster()).await.unwrap_err();
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
    async fn a_csi_node_is_the_nodes_own() {
        let csi = |name: &str| {
            Request::create("storage.k8s.io", "csinodes", "", json!({ "metadata": { "name": name } }))
        };
        assert_eq!(why(csi("a"), &cluster()).await, "admitted");
        assert_eq!(
            why(csi("b"), &cluster()).await,
            "can only access CSINode with the same name as the requesting node"
        );
    }

    #[tokio::test]
    async fn certificates_are_asked_for_in_the_nodes_own_name() {
        let ask = |signer: &str, name: &str| {
            let mut params = rcgen::CertificateParams::default();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            let key = rcgen::KeyPair::generate().expect("a key");
            let pem = params.serialize_request(&key).expect("a request").pem().expect("PEM");
            let spec = json!({ "signerName": signer, "request": BASE64_STANDARD.encode(pem) });
            let object = json!({ "metadata": { "name": "c" }, "spec": spec });
            Request::create("certificates.k8s.io", "certificatesigningrequests", "", object)
        };
        let (client, serving) =
            ("kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kubelet-serving");
        let rows = [
            (client, "system:node:a", "admitted"),
            (serving, "system:node:a", "admitted"),
            (serving, "system:node:b", "can only create a node CSR with CN=system:node:a"),
            (client, "jane", "can only create a node CSR with CN=system:node:a"),
            ("kubernetes.io/kube-apiserver-client", "jane", "admitted"),
        ];
        for (signer, name, wanted) in rows {
            assert_eq!(why(ask(signer, name), &cluster()).await, wanted, "{signer} {name}");
        }
    }

    #[tokio::test]
    async fn others_are_not_restricted() {
        let request = Request::create("", "nodes", "", json!({ "metadata": { "name": "b" } }));
        assert!(request.mutate(&plugin(), &cluster()).await.is_ok());
    }
}
