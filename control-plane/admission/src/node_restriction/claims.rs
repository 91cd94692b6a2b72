//! What a node may say of volumes' claims, which is how large they have become, and of devices, which are its own.

use keelson_registry::{Attributes, Operation};
use serde_json::Value;

use super::Refusal;
use crate::plugin::text;

/// What a node may change in the status of a claim.
const STATUS_FIELDS: [&str; 4] =
    ["capacity", "conditions", "allocatedResources", "allocatedResourceStatuses"];

pub(super) fn status(node: &str, attributes: &Attributes<'_>, claim: Option<&Value>) -> Result<(), Refusal> {
    let (Operation::Update, Some(old), Some(new)) = (attributes.operation, attributes.old, claim) else {
        return Err(format!("unexpected operation {:?}", attributes.operation.as_str()).into());
    };
    match without_own(old) == without_own(new) {
        true => Ok(()),
        false => Err(format!(
            "node {node:?} is not allowed to update fields other than status.quantity and status.conditions"
        )
        .into()),
    }
}

/// The claim without what the node may change, and without what every write changes.
fn without_own(claim: &Value) -> Value {
    let mut rest = claim.clone();
    let mut remove = |object: &str, fields: &[&str]| {
        let Some(object) = rest.get_mut(object).and_then(Value::as_object_mut) else { return };
        fields.iter().for_each(|field| drop(object.remove(*field)));
    };
    remove("metadata", &["resourceVersion", "managedFields"]);
    remove("status", &STATUS_FIELDS);
    if rest["status"].as_object().is_some_and(serde_json::Map::is_empty) {
        rest["status"] = Value::Null;
    }
    if rest["status"].is_null()
        && let Some(claim) = rest.as_object_mut()
    {
        claim.remove("status");
    }
    rest
}

/// The node authorizer looks at whose an existing slice is; here is what it cannot know.
pub(super) fn slice(node: &str, attributes: &Attributes<'_>, slice: Option<&Value>) -> Result<(), Refusal> {
    let (object, verb) = match attributes.operation {
        Operation::Create => (slice, "create"),
        Operation::Delete => (attributes.old, "delete"),
        _ => return Ok(()),
    };
    match object.map(|slice| text(slice, "/spec/nodeName")) == Some(node) {
        true => Ok(()),
        false => {
            Err(format!("can only {verb} ResourceSlice with the same NodeName as the requesting node").into())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keelson_auth::Authorizer;
    use serde_json::json;

    use super::*;
    use crate::node_restriction::NodeRestriction;
    use crate::testing::{Cluster, Request};

    fn plugin() -> NodeRestriction {
        NodeRestriction { authorizer: Arc::new(Authorizer::new()) }
    }

    #[tokio::test]
    async fn a_node_says_how_large_a_volume_has_become_and_no_more() {
        let claim = |labels: Value, status: Value| json!({ "metadata": { "name": "c", "resourceVersion": "1", "labels": labels }, "status": status });
        let old = claim(json!({}), json!({ "phase": "Bound" }));
        let rows = [
            (
                claim(
                    json!({}),
                    json!({ "phase": "Bound", "capacity": { "storage": "2Gi" }, "conditions": [] }),
                ),
                true,
            ),
            (claim(json!({}), json!({ "phase": "Bound", "allocatedResourceStatuses": {} })), true),
            (claim(json!({}), json!({ "phase": "Lost" })), false),
            (claim(json!({ "x": "y" }), json!({ "phase": "Bound" })), false),
        ];
        for (new, admitted) in rows {
            let request =
                Request::create("", "persistentvolumeclaims", "ns", new.clone()).update(old.clone());
            let request = request.at("status", "c").by("system:node:a", "system:nodes");
            let outcome = request.mutate(&plugin(), &Cluster::default()).await;
            assert_eq!(outcome.is_ok(), admitted, "{new}: {outcome:?}");
        }
        let whole = Request::create("", "persistentvolumeclaims", "ns", old.clone()).update(old);
        let refused = whole.by("system:node:a", "system:nodes").mutate(&plugin(), &Cluster::default()).await;
        assert!(refused.unwrap_err().message.ends_with("may only update PVC status"));
    }

    #[tokio::test]
    async fn slices_are_the_nodes_own() {
        let slice = |node: &str| json!({ "metadata": { "name": "s" }, "spec": { "nodeName": node } });
        let own = |request: Request| request.by("system:node:a", "system:nodes");
        for (node, admitted) in [("a", true), ("b", false), ("", false)] {
            let create = own(Request::create("resource.k8s.io", "resourceslices", "", slice(node)));
            assert_eq!(create.mutate(&plugin(), &Cluster::default()).await.is_ok(), admitted, "{node:?}");
            let delete =
                own(Request::delete("resource.k8s.io", "resourceslices", "", "s").with_old(slice(node)));
            assert_eq!(
                delete.admit_delete(&plugin(), &Cluster::default()).await.is_ok(),
                admitted,
                "{node:?}"
            );
        }
    }
}
