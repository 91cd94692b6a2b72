//! What the registry costs: creates a second, a list of everything, memory an object. Prints, asserts nothing.
//!
//! `cargo run --release -p keelson-registry --example figures -- [PODS]`

use bytes::BytesMut;
use futures::{StreamExt, stream};
use keelson_auth::UserInfo;
use keelson_registry::{Context, KindTable, ListOptions, Registry, RegistryConfig};
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
