//! TaintNodesByCondition: a new node takes no pods until it is known to be ready.

use async_trait::async_trait;
use keelson_registry::{Attributes, Operation, Status};
use serde_json::{Value, json};

use crate::Lookup;
use crate::plugin::{Plugin, is, list, list_mut, text};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const NO_SCHEDULE: &str = "NoSchedule";

pub(crate) struct TaintNodesByCondition;

#[async_trait]
impl Plugin for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        is(attributes, "", "nodes")
            && attributes.subresource.is_empty()
            && attributes.operation == Operation::Create
    }

    async fn mutate(&self, _: &Attributes<'_>, node: &mut Value, _: &dyn Lookup) -> Result<(), Status> {
        let tainted = list(node, "/spec/taints")
            .any(|taint| text(taint, "/key") == NOT_READY && text(taint, "/effect") == NO_SCHEDULE);
        if tainted {
            return Ok(());
        }
        let Some(object) = node.as_object_mut() else { return Ok(()) };
        let spec = object.entry("spec").or_insert_with(|| json!({}));
        if let Some(taints) = list_mut(spec, "taints") {
            taints.push(json!({ "key": NOT_READY, "effect": NO_SCHEDULE }));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Cluster, Request};

    #[tokio::test]
    async fn a_new_node_is_tainted_once() {
        let create = |node| Request::create("", "nodes", "", node);
        let node = create(json!({ "metadata": { "name": "a" } }));
        let node = node.mutate(&TaintNodesByCondition, &Cluster::default()).await.unwrap();
        assert_eq!(node["spec"]["taints"], json!([{ "key": NOT_READY, "effect": NO_SCHEDULE }]));
        let again = create(node.clone()).mutate(&TaintNodesByCondition, &Cluster::default()).await.unwrap();
        assert_eq!(again, node);
        let bare = json!({ "metadata": { "name": "a" } });
        let update = create(bare.clone()).update(node);
        assert_eq!(update.mutate(&TaintNodesByCondition, &Cluster::default()).await.unwrap(), bare);
    }
}
