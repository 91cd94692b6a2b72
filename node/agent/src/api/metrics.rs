//! `/metrics`: what the kubelet counts and the data plane measures, in Prometheus' text format.

use std::fmt::Write;
use std::sync::Arc;

use http::StatusCode;
use keelson_kubelet::Kubelet;
use keelson_runtime::v1;

use super::Refusal;
use crate::observe::{Observer, prometheus::Exporter};

/// Where the figures come from.
#[derive(Clone)]
pub(super) struct Source {
    kubelet: Arc<Kubelet>,
    /// `None` where the node runs without a data plane.
    services: Option<(Observer, Arc<Exporter>)>,
}

impl Source {
    pub(super) fn new(kubelet: Arc<Kubelet>, observer: Option<Observer>) -> Self {
        Self { kubelet, services: observer.map(|observer| (observer, Arc::default())) }
    }
}

pub(super) async fn metrics(source: Source) -> Result<String, Refusal> {
    let containers = source.kubelet.runtime.containers().await?;
    let running = containers.iter().filter(|c| c.state() == v1::ContainerState::ContainerRunning).count();
    let mut out = String::new();
    for (name, help, value) in [
        ("kubelet_running_pods", "Pods on this node", source.kubelet.pods.count()),
        ("kubelet_running_containers", "Containers whose process runs", running),
    ] {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
    }
    if let Some((observer, exporter)) = source.services {
        let failed = |error: keelson_dataplane::Error| {
            Refusal(StatusCode::INTERNAL_SERVER_ERROR, format!("{:#}", anyhow::Error::new(error)))
        };
        let services = observer.services().await.map_err(failed)?;
        out += &exporter.render(&services, &observer.status().await.map_err(failed)?);
    }
    Ok(out)
}
