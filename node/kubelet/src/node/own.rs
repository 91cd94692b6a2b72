//! A watch of this node's own Node object: what the API says of the node.

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use kube::{
    Api,
    runtime::{WatchStreamExt, watcher},
};
use tokio::sync::watch;

use crate::context::Context;

/// Sends the conditions that the API has, whenever they change, until the process ends.
pub(super) async fn follow(ctx: &Context, seen: watch::Sender<Vec<NodeCondition>>) {
    let own = watcher::Config::default().fields(&format!("metadata.name={}", ctx.config.node_name));
    let nodes: Api<Node> = Api::all(ctx.client.clone());
    let mut events = keelson_watch::watch(nodes, own).applied_objects();
    loop {
        match events.try_next().await {
            Ok(Some(node)) => {
                let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
                seen.send_if_modified(|old| {
                    let changed = *old != conditions;
                    *old = conditions;
                    changed
                });
            }
            Ok(None) => return,
            Err(error) => tracing::debug!(%error, "watching the own node"),
        }
    }
}
