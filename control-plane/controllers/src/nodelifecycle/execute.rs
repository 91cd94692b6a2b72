//! The writes of the node lifecycle controller: conditions, taints, pods' readiness.

use super::{NodeLifecycle, plan};
use keelson_harness::{
    ApiError, IndexKey, Timestamp,
    api::{NODES, PODS, PatchKind},
    views::{MetaOnly, Node},
};
use keelson_semantics::Taint;
use serde_json::{Value, json};

impl NodeLifecycle {
    /// Makes the watched conditions Unknown. True: something was written.
    pub(super) async fn declare_unknown(&self, node: &Node) -> Result<bool, ApiError> {
        let due = plan::unknown(node);
        if due.is_empty() {
            return Ok(false);
        }
        let now = Timestamp::now();
        let conditions: Vec<Value> = due
            .iter()
            .map(|(kind, reason, message)| {
                json!({"type": kind, "status": "Unknown", "reason": reason, "message": message,
                       "lastTransitionTime": now})
            })
            .collect();
        let patch = json!({"metadata": {"uid": node.metadata.uid, "resourceVersion": node.metadata.resource_version},
                           "status": {"conditions": conditions}});
        let (api, name) = (&self.shared.api, &node.metadata.name);
        api.patch::<MetaOnly>(&NODES, None, name, Some("status"), PatchKind::Strategic, &patch).await?;
        let message = format!("Node {name} status is now: NodeNotReady");
        self.recorder.normal(&NODES, &node.metadata, "NodeNotReady", message);
        Ok(true)
    }

    pub(super) async fn write_taints(&self, node: &Node, taints: &[Taint]) -> Result<(), ApiError> {
        let taints = if taints.is_empty() { Value::Null } else { json!(taints) };
        let patch = json!({"metadata": {"resourceVersion": node.metadata.resource_version}, "spec": {"taints": taints}});
        let name = &node.metadata.name;
        self.shared.api.patch::<MetaOnly>(&NODES, None, name, None, PatchKind::Merge, &patch).await.map(drop)
    }

    /// Condition Ready of each pod on the node becomes False, so that no Service sends it connections.
    pub(super) async fn mark_pods(&self, node: &Node) -> Result<(), ApiError> {
        let pods = self.pods.by(&IndexKey::Node(node.metadata.name.clone()));
        for pod in pods.iter().filter(|p| p.is_ready()) {
            let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [
                {"type": "Ready", "status": "False", "reason": "NodeNotReady", "message": null,
                 "lastTransitionTime": Timestamp::now()}]}});
            let key = pod.metadata.key();
            let api = &self.shared.api;
            match api
                .patch::<MetaOnly>(&PODS, key.ns(), &key.name, Some("status"), PatchKind::Strategic, &patch)
                .await
            {
                Err(e) if !e.is_not_found() && !e.is_conflict() => return Err(e),
                _ => {}
            }
            self.recorder.warning(&PODS, &pod.metadata, "NodeNotReady", "Node is not ready");
        }
        Ok(())
    }
}
