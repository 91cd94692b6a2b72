//! What Keelson's own processes keep in memory, as the kernel accounts it.

use crate::pods::{self, Namespace};
use anyhow::Result;
use keelson_tests::{figures::Report, process};
use kube::Client;
use std::time::Duration;

/// How long the cluster rests before it counts as idle.
const REST: Duration = Duration::from_secs(10);
const PODS: usize = 10;

pub(crate) async fn measure(client: &Client, namespace: &Namespace, report: &mut Report) -> Result<()> {
    let api = namespace.pods(client);
    let names: Vec<String> = (0..PODS).map(|number| format!("memory-{number}")).collect();
    pods::until_ready(&api, &names).await?;
    // Not for a condition: idleness is the absence of events for a while.
    tokio::time::sleep(REST).await;
    let mut sum_kib = 0;
    let mut maps_bytes = 0;
    for process in process::all()? {
        let kib = process.pss_kib()?;
        report.add(
            format!("PSS {}", process.name),
            kib as f64 / 1024.0,
            "MiB",
            format!("pid {}", process.pid),
        );
        sum_kib += kib;
        maps_bytes += process.bpf_map_bytes()?;
    }
    let note = format!("control plane, node daemons and DNS, idle, {PODS} pods");
    report.add("PSS in all", sum_kib as f64 / 1024.0, "MiB", note);
    report.add(
        "BPF maps",
        maps_bytes as f64 / (1 << 20) as f64,
        "MiB",
        "memory of the maps that the processes hold",
    );
    pods::until_gone(&api, &names).await
}
