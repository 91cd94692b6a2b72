//! The Node object: registered at the start, its status written on change and every five minutes, and a
//! Lease renewed every ten seconds, which is how the control plane knows that the node lives.

mod conditions;
mod facts;
mod lease;
mod own;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec, NodeStatus,
    NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use crate::config::{Config, VERSION};
use crate::context::{Capacity, Context, NetworkState};
use crate::patch::replace_whole;

pub(crate) use facts::capacity;

/// How often an unchanged status is written again (upstream's nodeStatusReportFrequency).
const REPORT: Duration = Duration::from_secs(300);
/// How often the node is looked at; faster until it is ready for the first time.
const LOOK: Duration = Duration::from_secs(10);
const LOOK_AT_START: Duration = Duration::from_millis(50);
/// Memory that pods do not get: below it the kernel would thrash (upstream's memory.available eviction limit).
const MEMORY_RESERVED_BYTES: i64 = 100 << 20;

/// Keeps Node and Lease until the process ends.
pub(crate) async fn run(ctx: Arc<Context>) {
    let info = facts::system_info(ctx.runtime.as_ref()).await;
    register(&ctx, &info).await;
    let (seen_in, seen) = watch::channel(Vec::new());
    tokio::join!(lease::renew(&ctx), own::follow(&ctx, seen_in), report(&ctx, &info, seen));
}

/// Creates the Node, or brings the labels of the one that is there up to date.
async fn register(ctx: &Context, info: &NodeSystemInfo) {
    let api: Api<Node> = Api::all(ctx.client.clone());
    let name = &ctx.config.node_name;
    let labels = labels(name, info);
    let conditions = conditions::conditions(ctx).await;
    let node = Node {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            labels: Some(labels.clone()),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            pod_cidr: ctx.config.pod_cidrs.first().cloned(),
            pod_cidrs: (!ctx.config.pod_cidrs.is_empty()).then(|| ctx.config.pod_cidrs.clone()),
            ..NodeSpec::default()
        }),
        status: Some(status(ctx, info, conditions)),
    };
    let mut pause = Duration::from_millis(50);
    loop {
        let error = match api.create(&PostParams::default(), &node).await {
            Ok(_) => return tracing::info!(node = %name, "registered"),
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let patch = json!({ "metadata": { "labels": labels } });
                match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
                    Ok(_) => return tracing::info!(node = %name, "the node is registered already"),
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        tracing::warn!(%error, retry_in = ?pause, "cannot register the node");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(7));
    }
}

fn labels(name: &str, info: &NodeSystemInfo) -> BTreeMap<String, String> {
    [
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", &info.operating_system),
        ("kubernetes.io/arch", &info.architecture),
        ("beta.kubernetes.io/os", &info.operating_system),
        ("beta.kubernetes.io/arch", &info.architecture),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// Looks at the node; writes what changed at once, and everything from time to time. `seen` are the conditions that the API
/// has: the control plane sets them to Unknown when it has not heard of the node for a while, and only we can say better.
async fn report(ctx: &Context, info: &NodeSystemInfo, mut seen: watch::Receiver<Vec<NodeCondition>>) {
    let api: Api<Node> = Api::all(ctx.client.clone());
    let mut written: Option<(Instant, Vec<NodeCondition>)> = None;
    let mut was_ready = false;
    let mut network = ctx.network.clone();
    loop {
        let mut fresh = conditions::conditions(ctx).await;
        let changed = match &written {
            Some((_, old)) => conditions::carry_over(&mut fresh, old),
            None => true,
        };
        let due = written.as_ref().is_none_or(|(at, _)| at.elapsed() >= REPORT);
        let overruled = conditions::overruled(&fresh, &seen.borrow_and_update());
        if changed || due || overruled {
            let body = patch(&status(ctx, info, fresh.clone()));
            match api
                .patch_status(&ctx.config.node_name, &PatchParams::default(), &Patch::Strategic(body))
                .await
            {
                Ok(_) => {
                    was_ready |= conditions::is_ready(&fresh);
                    written = Some((Instant::now(), fresh));
                }
                Err(kube::Error::Api(status)) if status.code == 404 => {
                    tracing::warn!("the Node object was deleted; it is registered again");
                    register(ctx, info).await;
                }
                Err(error) => tracing::warn!(%error, "cannot write the node's status"),
            }
        }
        let pause = if was_ready { LOOK } else { LOOK_AT_START };
        // The sender lives as long as this: an error cannot come.
        tokio::select! {
            _ = tokio::time::sleep(pause) => {}
            _ = seen.changed() => {}
            () = network_changed(&mut network) => {}
        }
    }
}

/// Returns when the network's state is another one; never, where there is nobody to say so any more.
async fn network_changed(network: &mut Option<watch::Receiver<NetworkState>>) {
    let told = match network {
        Some(state) => state.changed().await.is_ok(),
        None => false,
    };
    if !told {
        std::future::pending().await
    }
}

fn patch(status: &NodeStatus) -> Value {
    let mut patch = json!({ "status": status });
    // Merged by their types, two InternalIPs would become one.
    replace_whole(&mut patch["status"]["addresses"]);
    patch
}

fn status(ctx: &Context, info: &NodeSystemInfo, conditions: Vec<NodeCondition>) -> NodeStatus {
    let mut addresses: Vec<NodeAddress> = ctx
        .config
        .node_ips
        .iter()
        .map(|ip| NodeAddress { type_: "InternalIP".to_owned(), address: ip.clone() })
        .collect();
    addresses.push(NodeAddress { type_: "Hostname".to_owned(), address: ctx.config.node_name.clone() });
    NodeStatus {
        addresses: Some(addresses),
        capacity: Some(resources(&ctx.config, &ctx.capacity)),
        allocatable: Some(allocatable(&ctx.config, &ctx.capacity)),
        conditions: Some(conditions),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(ctx.config.api_port) }),
        }),
        node_info: Some(info.clone()),
        ..NodeStatus::default()
    }
}

fn resources(config: &Config, capacity: &Capacity) -> BTreeMap<String, Quantity> {
    let cpu = if capacity.cpu_milli % 1000 == 0 {
        (capacity.cpu_milli / 1000).to_string()
    } else {
        format!("{}m", capacity.cpu_milli)
    };
    [
        ("cpu", cpu),
        ("memory", format!("{}Ki", capacity.memory_bytes / 1024)),
        ("ephemeral-storage", format!("{}Ki", capacity.storage_bytes / 1024)),
        ("pods", config.pods_max.to_string()),
    ]
    .map(|(name, amount)| (name.to_owned(), Quantity(amount)))
    .into()
}

/// What is left for pods: less the memory, and a tenth of the disk, at which a node is under pressure.
pub(crate) fn left_for_pods(capacity: Capacity) -> Capacity {
    Capacity {
        memory_bytes: (capacity.memory_bytes - MEMORY_RESERVED_BYTES).max(0),
        storage_bytes: capacity.storage_bytes / 10 * 9,
        ..capacity
    }
}

fn allocatable(config: &Config, capacity: &Capacity) -> BTreeMap<String, Quantity> {
    resources(config, &left_for_pods(*capacity))
}

fn condition(kind: &str, status: bool, reason: &str, message: &str) -> NodeCondition {
    let now = Some(Time(Timestamp::now()));
    NodeCondition {
        type_: kind.to_owned(),
        status: if status { "True" } else { "False" }.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_heartbeat_time: now.clone(),
        last_transition_time: now,
    }
}

/// The system's facts that never change while the daemon runs.
fn versioned(mut info: NodeSystemInfo) -> NodeSystemInfo {
    VERSION.clone_into(&mut info.kubelet_version);
    VERSION.clone_into(&mut info.kube_proxy_version);
    info
}
