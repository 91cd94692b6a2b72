//! Keelson's own processes on this machine, and what they keep in memory, as the kernel accounts it.

use anyhow::{Context, Result, ensure};
use nix::unistd::Pid;
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// A process of `keelson` or `keelson-node`.
pub struct Process {
    /// Its pid.
    pub pid: u32,
    /// Program and first word: `keelson serve`, `keelson-node run`, `keelson-node dns`.
    pub name: String,
    folder: PathBuf,
}

/// Every process of `keelson` and `keelson-node`; an error when there is none.
pub fn all() -> Result<Vec<Process>> {
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
    ensure!(!found.is_empty(), "no keelson process runs on this machine");
    Ok(found)
}

/// When a process began, to the hundredth of a second that the kernel keeps (field 22 of proc_pid_stat(5)).
pub fn started(pid: Pid) -> Result<Instant> {
    /// USER_HZ, which is 100 on every architecture that we run on.
    const TICKS: f64 = 100.0;
    let (uptime, now) = (fs::read_to_string("/proc/uptime")?, Instant::now());
    let uptime_s: f64 =
        uptime.split(' ').next().unwrap_or_default().parse().context("reading /proc/uptime")?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
    // After the name, which may hold spaces.
    let field = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(19)?.parse::<f64>().ok());
    let age_s = (uptime_s - field.context("a start time in /proc/PID/stat")? / TICKS).max(0.0);
    now.checked_sub(Duration::from_secs_f64(age_s)).context("a process older than the clock")
}

impl Process {
    /// KiB of the pages it has to itself, and its share of those that it has not (proc_pid_smaps(5)).
    pub fn pss_kib(&self) -> Result<u64> {
        let text = fs::read_to_string(self.folder.join("smaps_rollup"))
            .with_context(|| format!("reading smaps_rollup of {}; are you root?", self.name))?;
        let line =
            text.lines().find_map(|line| line.strip_prefix("Pss:")).context("smaps_rollup without Pss")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// The memory of each BPF map that it has open, as its fdinfo states it.
    pub fn bpf_map_bytes(&self) -> Result<u64> {
        let mut maps = std::collections::BTreeMap::new();
        for entry in fs::read_dir(self.folder.join("fdinfo"))? {
            let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
            let field = |name: &str| {
                text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
            };
            if let (Some(id), Some(bytes)) = (field("map_id:"), field("memlock:")) {
                maps.insert(id, bytes);
            }
        }
        Ok(maps.values().sum())
    }
}
