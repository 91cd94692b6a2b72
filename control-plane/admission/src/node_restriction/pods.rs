//! What a node may do to pods: mirror pods of its own files, status and eviction of those it runs.

use keelson_auth::authz::node::{for_each_config_map, for_each_secret};
use keelson_registry::status::GroupResource;
use keelson_registry::{Attributes, Operation, Status};
use serde_json::Value;

use super::{Refusal, pod};
use crate::plugin::{MIRROR_POD, is_mirror_pod, list, object_name, text};
use crate::{Lookup, Wanted};

pub(super) async fn create(node: &str, pod: &Value, lookup: &dyn Lookup) -> Result<(), Refusal> {
    if !is_mirror_pod(pod) {
        return Err(format!(
            "pod does not have {MIRROR_POD:?} annotation, node {node:?} can only create mirror pods"
        )
        .into());
    }
    if text(pod, "/spec/nodeName") != node {
        return Err(format!("node {node:?} can only create pods with spec.nodeName set to itself").into());
    }
    owner(node, pod, lookup).await?;
    references(node, pod)
}

async fn owner(node: &str, pod: &Value, lookup: &dyn Lookup) -> Result<(), Refusal> {
    let mut owners = list(pod, "/metadata/ownerReferences");
    let (owner, more) = (owners.next(), owners.next());
    let itself = |owner: &&Value| {
        text(owner, "/apiVersion") == "v1" && text(owner, "/kind") == "Node" && text(owner, "/name") == node
    };
    if more.is_some() {
        return Err(format!(
            "node {node:?} can only create pods with a single owner reference set to itself"
        )
        .into());
    }
    let Some(owner) = owner.filter(itself) else {
        return Err(
            format!("node {node:?} can only create pods with an owner reference set to itself").into()
        );
    };
    if owner["controller"].as_bool() != Some(true) {
        return Err(format!(
            "node {node:?} can only create pods with a controller owner reference set to itself"
        )
        .into());
    }
    if owner["blockOwnerDeletion"].as_bool() == Some(true) {
        return Err(format!("node {node:?} must not set blockOwnerDeletion on an owner reference").into());
    }
    let Some(stored) = lookup.find(Wanted::Node, "", node).await? else {
        return Err(Status::not_found(&GroupResource::new("", "nodes"), node).into());
    };
    let (claimed, is) = (text(owner, "/uid"), text(&stored, "/metadata/uid"));
    match claimed == is {
        true => Ok(()),
        false => Err(format!("node {node} UID mismatch: expected {claimed} got {is}").into()),
    }
}

/// Else a node could read what it likes by putting it into a pod of its own.
fn references(node: &str, pod: &Value) -> Result<(), Refusal> {
    let refuse = |what: &str| Err(format!("node {node:?} can not create pods that reference {what}").into());
    let (mut secrets, mut config_maps) = (false, false);
    for_each_secret(pod, |_| secrets = true);
    for_each_config_map(pod, |_| config_maps = true);
    let volume_has = |field: &str| {
        list(pod, "/spec/volumes").any(|volume| volume.get(field).is_some_and(|source| !source.is_null()))
    };
    let projects = |field: &str| {
        list(pod, "/spec/volumes")
            .flat_map(|volume| list(volume, "/projected/sources"))
            .any(|source| source.get(field).is_some_and(|source| !source.is_null()))
    };
    if !text(pod, "/spec/serviceAccountName").is_empty() {
        return refuse("a service account");
    }
    if secrets {
        return refuse("secrets");
    }
    if config_maps {
        return refuse("configmaps");
    }
    if projects("clusterTrustBundle") {
        return refuse("clustertrustbundles");
    }
    if volume_has("persistentVolumeClaim") {
        return refuse("persistentvolumeclaims");
    }
    if list(pod, "/spec/resourceClaims").next().is_some() {
        return refuse("resourceclaims");
    }
    Ok(())
}

pub(super) fn delete(node: &str, pod: Option<&Value>) -> Result<(), Refusal> {
    match pod.map(|pod| text(pod, "/spec/nodeName")) == Some(node) {
        true => Ok(()),
        false => Err(format!("node {node:?} can only delete pods with spec.nodeName set to itself").into()),
    }
}

pub(super) fn status(node: &str, attributes: &Attributes<'_>, pod: Option<&Value>) -> Result<(), Refusal> {
    let (Operation::Update, Some(old), Some(new)) = (attributes.operation, attributes.old, pod) else {
        return Err(format!("unexpected operation {:?}", attributes.operation.as_str()).into());
    };
    if text(old, "/spec/nodeName") != node {
        return Err(format!(
            "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
        )
        .into());
    }
    if labels(old) != labels(new) {
        return Err(format!("node {node:?} cannot update labels through pod status").into());
    }
    let claims = |pod: &Value| list(pod, "/status/resourceClaimStatuses").cloned().collect::<Vec<_>>();
    let extended =
        |pod: &Value| pod.pointer("/status/extendedResourceClaimStatus").cloned().unwrap_or_default();
    match claims(old) == claims(new) && extended(old) == extended(new) {
        true => Ok(()),
        false => Err(format!("node {node:?} cannot update resource claim statues").into()),
    }
}

fn labels(pod: &Value) -> Option<&serde_json::Map<String, Value>> {
    pod.pointer("/metadata/labels").and_then(Value::as_object).filter(|labels| !labels.is_empty())
}

pub(super) async fn eviction(
    node: &str,
    attributes: &Attributes<'_>,
    eviction: Option<&Value>,
    lookup: &dyn Lookup,
) -> Result<(), Refusal> {
    if attributes.operation != Operation::Create {
        return Err(format!("unexpected operation {}", attributes.operation.as_str()).into());
    }
    let name = match attributes.name {
        "" => object_name(attributes, eviction),
        name => name,
    };
    if name.is_empty() {
        return Err("could not determine pod from request data".into());
    }
    let pod = pod(lookup, attributes.namespace, name).await?;
    match text(&pod, "/spec/nodeName") == node {
        true => Ok(()),
        false => Err(format!("node {node} can only evict pods with spec.nodeName set to itself").into()),
    }
}
