//! What the registry costs: creates a second, status patches and renewals of leases one after the other, a list of
//! everything, memory an object. Prints, asserts nothing.
//!
//! `cargo run --release -p keelson-registry --example figures -- [PODS]`

use bytes::BytesMut;
use futures::{StreamExt, stream};
use keelson_auth::UserInfo;
use keelson_registry::{Context, Kind, KindTable, ListOptions, PatchType, Registry, RegistryConfig};
use keelson_store::{Store, model::Model};
use serde_json::{Value, json};
use std::{sync::Arc, time::Instant};

const WRITERS: usize = 64;

#[tokio::main]
async fn main() {
    let pods: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(10_000);
    let store: Arc<dyn Store> = Arc::new(Model::default());
    let config = RegistryConfig::default();
    let registry = Registry::open(store, KindTable::builtin(), config).await.expect("the model opens");
    let kind = registry.table().by_resource("", "v1", "pods").expect("pods are served").clone();
    let context = Context::new(Arc::new(UserInfo::default()));
    let before = resident_kib();
    let start = Instant::now();
    stream::iter(0..pods)
        .map(|index| {
            let (registry, kind, context) = (registry.clone(), kind.clone(), context.clone());
            async move { registry.create(&context, &kind, Some("ns"), None, None, pod(index)).await }
        })
        .buffer_unordered(WRITERS)
        .for_each(|outcome| async { drop(outcome.expect("the pod is valid")) })
        .await;
    let took = start.elapsed();
    println!("create: {pods} pods in {took:?}, {:.0} a second", pods as f64 / took.as_secs_f64());
    println!("memory: {} KiB before, {} KiB after (with the model store's own)", before, resident_kib());
    one_by_one(&registry, &kind).await;
    for _ in 0..3 {
        let start = Instant::now();
        let list = registry.list(&kind, None, &ListOptions::default()).await.expect("a list");
        let mut out = BytesMut::new();
        for entry in &list.items {
            entry.write_json(entry.mod_revision(), &mut out);
        }
        println!("list: {} pods, {} bytes in {:?}", list.items.len(), out.len(), start.elapsed());
    }
}

/// The hot writes, by who writes them, each alone: the fastest of some rounds.
async fn one_by_one(registry: &Arc<Registry>, pods: &Arc<Kind>) {
    let context =
        Context { field_manager: "kubelet".to_owned(), ..Context::new(Arc::new(UserInfo::default())) };
    let leases = registry.table().by_resource("coordination.k8s.io", "v1", "leases").expect("served").clone();
    let lease = json!({"metadata": {"name": "n"}, "spec": {"holderIdentity": "n", "leaseDurationSeconds": 40,
        "renewTime": "2026-01-02T03:04:05.000000Z"}});
    registry.create(&context, &leases, Some("ns"), None, None, lease).await.expect("a valid lease");
    let (mut create, mut status, mut renew) = (f64::INFINITY, f64::INFINITY, f64::INFINITY);
    for round in 0..20 {
        let start = Instant::now();
        for index in 0..ROUND {
            let body = pod(10_000_000 + round * ROUND + index);
            registry.create(&context, pods, Some("ns"), None, None, body).await.expect("a valid pod");
        }
        create = create.min(micros(start));
        let patch = |body: Value| bytes::Bytes::from(body.to_string());
        let start = Instant::now();
        for index in 0..ROUND {
            let (name, body) = (format!("pod-{:06}", index % 100), patch(status_of(round * ROUND + index)));
            let form = PatchType::Strategic;
            let outcome = registry.patch(&context, pods, Some("ns"), &name, Some("status"), form, body).await;
            outcome.expect("a valid status");
        }
        status = status.min(micros(start));
        let start = Instant::now();
        for index in 0..ROUND {
            let time = format!("2026-01-02T03:{:02}:{:02}.{:06}Z", round, index % 60, index);
            let body = patch(json!({"spec": {"renewTime": time}}));
            let outcome =
                registry.patch(&context, &leases, Some("ns"), "n", None, PatchType::Merge, body).await;
            outcome.expect("a valid lease");
        }
        renew = renew.min(micros(start));
    }
    println!("one create {create:.0} us, one status patch {status:.0} us, one renewal {renew:.0} us");
}

const ROUND: usize = 500;

fn micros(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e6 / ROUND as f64
}

fn status_of(count: usize) -> Value {
    let condition =
        |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": "2026-01-02T03:04:05Z"});
    let conditions = ["Initialized", "Ready", "ContainersReady", "PodScheduled"].map(condition);
    json!({"status": {
        "phase": "Running", "podIP": "10.244.0.9", "podIPs": [{"ip": "10.244.0.9"}], "hostIP": "10.0.0.1",
        "startTime": "2026-01-02T03:04:05Z",
        "conditions": conditions,
        "containerStatuses": [{"name": "c", "image": "registry.example/web:1.2.3", "imageID": "sha256:0", "ready": true,
            "started": true, "restartCount": count, "state": {"running": {"startedAt": "2026-01-02T03:04:05Z"}}}],
    }})
}

fn pod(index: usize) -> Value {
    let env: Vec<Value> =
        (0..20).map(|at| json!({"name": format!("VARIABLE_{at}"), "value": "x".repeat(60)})).collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("pod-{index:06}"), "labels": {"app": "web", "tier": "front"}},
        "spec": {"containers": [{
            "name": "c", "image": "registry.example/web:1.2.3", "env": env, "ports": [{"containerPort": 80}],
            "readinessProbe": {"httpGet": {"port": 80, "path": "/ready"}},
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
        }]},
    })
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or_default()
}
