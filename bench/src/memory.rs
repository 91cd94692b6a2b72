//! What Keelson's own processes keep in memory, as the kernel accounts it.

use crate::{
    pods::{self, Namespace},
    report::Report,
};
use anyhow::{Context, Result};
use kube::Client;
use std::{fs, path::Path, time::Duration};

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
    for process in processes()? {
        let kib = pss_kib(&process.folder)?;
        report.add(
            &format!("PSS {}", process.name),
            kib as f64 / 1024.0,
            "MiB",
            format!("pid {}", process.pid),
        );
        sum_kib += kib;
        maps_bytes += bpf_map_bytes(&process.folder)?;
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

struct Process {
    pid: u32,
    name: String,
    folder: std::path::PathBuf,
}

/// Every process of `keelson` and `keelson-node`.
fn processes() -> Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let folder = entry?.path();
        let Some(pid) = folder.file_name().and_then(|name| name.to_str()?.parse().ok()) else { continue };
        // A process may end while we look.
        let Ok(line) = fs::read_to_string(folder.join("cmdline")) else { continue };
        let mut words = line.split('\0');
        let program = words.next().and_then(|word| Path::new(word).file_name()?.to_str()).unwrap_or_default();
        if program == "keelson" || program == "keelson-node" {
            let name = format!("{program} {}", words.next().unwrap_or_default());
            found.push(Process { pid, name, folder });
        }
    }
    anyhow::ensure!(!found.is_empty(), "no keelson process runs on this machine");
    Ok(found)
}

/// The share of its pages that a process has to itself (proc_pid_smaps(5)).
fn pss_kib(folder: &Path) -> Result<u64> {
    let text =
        fs::read_to_string(folder.join("smaps_rollup")).context("reading smaps_rollup; are you root?")?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("smaps_rollup without Pss")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// The memory of each map that a process has open, as its fdinfo states it.
fn bpf_map_bytes(folder: &Path) -> Result<u64> {
    let mut maps = std::collections::BTreeMap::new();
    for entry in fs::read_dir(folder.join("fdinfo"))? {
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        let field =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        if let (Some(id), Some(bytes)) = (field("map_id:"), field("memlock:")) {
            maps.insert(id, bytes);
        }
    }
    Ok(maps.values().sum())
}
