//! The node's Lease in kube-node-lease: 40 seconds long, renewed every ten.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use crate::context::Context;

const NAMESPACE: &str = "kube-node-lease";
const DURATION_SECONDS: i32 = 40;
/// A quarter of the duration, as upstream.
const RENEW: Duration = Duration::from_secs(10);
/// Pause after a failed renewal; the next may still come in time.
const RETRY: Duration = Duration::from_millis(500);

pub(super) async fn renew(ctx: &Context) {
    let api: Api<Lease> = Api::namespaced(ctx.client.clone(), NAMESPACE);
    let name = &ctx.config.node_name;
    loop {
        let patch = json!({ "spec": {
            "holderIdentity": name,
            "leaseDurationSeconds": DURATION_SECONDS,
            "renewTime": MicroTime(Timestamp::now()),
        }});
        let renewed = match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => create(ctx, &api).await,
            other => other.map(drop),
        };
        let pause = match renewed {
            Ok(()) => RENEW,
            Err(error) => {
                tracing::warn!(%error, "cannot renew the node's lease");
                RETRY
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn create(ctx: &Context, api: &Api<Lease>) -> kube::Result<()> {
    let name = &ctx.config.node_name;
    // Owned by the Node, so that it goes with it.
    let nodes: Api<Node> = Api::all(ctx.client.clone());
    let owner = nodes.get_opt(name).await?.map(|node| OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: name.clone(),
        uid: node.metadata.uid.unwrap_or_default(),
        ..OwnerReference::default()
    });
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(NAMESPACE.to_owned()),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(name.clone()),
            lease_duration_seconds: Some(DURATION_SECONDS),
            renew_time: Some(MicroTime(Timestamp::now())),
            ..LeaseSpec::default()
        }),
    };
    api.create(&PostParams::default(), &lease).await.map(drop)
}
