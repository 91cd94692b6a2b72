//! `/metrics`: what the kubelet counts, in Prometheus' text format.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use keelson_kubelet::Kubelet;
use keelson_runtime::v1;

use super::Refusal;

pub(super) async fn metrics(State(kubelet): State<Arc<Kubelet>>) -> Result<String, Refusal> {
    let containers = kubelet.runtime.containers().await?;
    let running = containers.iter().filter(|c| c.state() == v1::ContainerState::ContainerRunning).count();
    let mut out = String::new();
    for (name, help, value) in [
        ("kubelet_running_pods", "Pods on this node", kubelet.pods.count()),
        ("kubelet_running_containers", "Containers whose process runs", running),
    ] {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
    }
    Ok(out)
}
