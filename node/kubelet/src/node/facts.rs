//! What the machine is: size and identity, read from /proc, /etc and the runtime.

use std::path::Path;

use k8s_openapi::api::core::v1::NodeSystemInfo;
use keelson_runtime::Runtime;
use keelson_sys::host;

use crate::context::Capacity;

/// Reads one number of /proc/meminfo, in bytes.
fn meminfo(key: &str) -> Option<i64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    meminfo_in(&text, key)
}

fn meminfo_in(text: &str, key: &str) -> Option<i64> {
    let line = text.lines().find(|line| line.split(':').next() == Some(key))?;
    let kib: i64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

pub(super) fn memory_available() -> Option<i64> {
    meminfo("MemAvailable")
}

/// Process ids that the kernel can still give out.
pub(super) fn pids_left() -> Option<u64> {
    let max: u64 = std::fs::read_to_string("/proc/sys/kernel/pid_max").ok()?.trim().parse().ok()?;
    let load = std::fs::read_to_string("/proc/loadavg").ok()?;
    let used: u64 = load.split_whitespace().nth(3)?.split('/').nth(1)?.parse().ok()?;
    Some(max.saturating_sub(used))
}

/// The size of the machine; storage is that of the file system below `root`.
pub(crate) fn capacity(root: &Path) -> std::io::Result<Capacity> {
    let cpus = std::thread::available_parallelism()?.get();
    let memory = meminfo("MemTotal").ok_or_else(|| std::io::Error::other("/proc/meminfo has no MemTotal"))?;
    let storage = host::file_system(root)?.bytes;
    Ok(Capacity {
        cpu_milli: i64::try_from(cpus).unwrap_or(1) * 1000,
        memory_bytes: memory,
        storage_bytes: i64::try_from(storage).unwrap_or(i64::MAX),
    })
}

/// Empty where the host has no such file, as inside of containers.
fn line(path: &str) -> String {
    match std::fs::read_to_string(path) {
        Ok(text) => text.trim().to_owned(),
        Err(error) => {
            if error.kind() != std::io::ErrorKind::NotFound {
                tracing::warn!(path, %error, "a fact of the host is not known");
            }
            String::new()
        }
    }
}

/// Name of the distribution, from os-release(5).
fn os_image() -> String {
    let text = line("/etc/os-release");
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}

/// Go's names of architectures, which Kubernetes labels use.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `status.nodeInfo`. Waits for the runtime's version no longer than one call takes.
pub(super) async fn system_info(runtime: &dyn Runtime) -> NodeSystemInfo {
    let runtime = match runtime.version().await {
        Ok(version) => format!("{}://{}", version.runtime_name, version.runtime_version),
        Err(error) => {
            tracing::warn!(%error, "the container runtime does not tell its version");
            String::new()
        }
    };
    let kernel = host::kernel_release().unwrap_or_else(|error| {
        tracing::warn!(%error, "the kernel does not tell its release");
        String::new()
    });
    super::versioned(NodeSystemInfo {
        machine_id: line("/etc/machine-id"),
        system_uuid: line("/sys/class/dmi/id/product_uuid"),
        boot_id: line("/proc/sys/kernel/random/boot_id"),
        kernel_version: kernel,
        os_image: os_image(),
        container_runtime_version: runtime,
        operating_system: "linux".to_owned(),
        architecture: architecture().to_owned(),
        ..NodeSystemInfo::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_read_by_whole_keys() {
        let text = "MemTotal:       16384 kB\nMemTotalX:      1 kB\n";
        assert_eq!(meminfo_in(text, "MemTotal"), Some(16 << 20));
        assert_eq!(meminfo_in(text, "MemFree"), None);
    }
}
