//! The cgroup hierarchies of a host: v2 alone, v1 alone, or hybrid (v1 controllers beside a v2 tree).
//!
//! Owns where a cgroup's directories are, how limits are spelt in each tree, and their creation and
//! removal. Which limits a pod gets is the kubelet's; containers' own cgroups are the runtime's.

use std::io;
use std::path::{Path, PathBuf};

/// How deep below a removed cgroup others may lie; deeper ones were not made by a container runtime.
const DEPTH_MAX: usize = 16;

/// The mounted hierarchies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hierarchies {
    /// Mount point of the v2 tree, if any.
    pub unified: Option<PathBuf>,
    /// Mount point of v1's cpu controller.
    pub cpu: Option<PathBuf>,
    /// Mount point of v1's memory controller.
    pub memory: Option<PathBuf>,
    /// All other v1 mount points.
    pub other: Vec<PathBuf>,
}

/// Limits of a cgroup; `None` leaves the kernel's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Relative CPU weight in v1's scale (2..=262144).
    pub cpu_shares: Option<u64>,
    /// CPU time in microseconds for each period of 100 ms.
    pub cpu_quota_us: Option<u64>,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
}

/// The period to which [`Limits::cpu_quota_us`] refers.
pub const CPU_PERIOD_US: u64 = 100_000;

impl Hierarchies {
    /// Finds out from /proc/self/mountinfo.
    pub fn read() -> io::Result<Self> {
        Ok(Self::parse(&std::fs::read_to_string("/proc/self/mountinfo")?))
    }

    /// Reads mountinfo's text. Where a hierarchy is mounted twice, the first counts.
    pub fn parse(mountinfo: &str) -> Self {
        let mut found = Self::default();
        for line in mountinfo.lines() {
            let Some((front, back)) = line.split_once(" - ") else { continue };
            let mut back = back.split(' ');
            let (kind, options) = (back.next().unwrap_or(""), back.nth(1).unwrap_or(""));
            let Some(point) = front.split(' ').nth(4).map(|p| PathBuf::from(crate::mounts::unescape(p)))
            else {
                continue;
            };
            let has = |name: &str| options.split(',').any(|option| option == name);
            match kind {
                "cgroup2" => drop(found.unified.get_or_insert(point)),
                "cgroup" => {
                    if has("cpu") {
                        found.cpu.get_or_insert(point.clone());
                    }
                    if has("memory") {
                        found.memory.get_or_insert(point.clone());
                    }
                    if !has("cpu") && !has("memory") {
                        found.other.push(point);
                    }
                }
                _ => {}
            }
        }
        found
    }
}

/// Cgroups of pods. A test uses [`RecordedCgroups`].
pub trait Cgroups: Send + Sync + 'static {
    /// Creates the cgroup at `path` (absolute, as in `/kubepods/podX`) and sets its limits, in the tree
    /// that has the controllers. Creating what exists only sets the limits.
    fn create(&self, path: &str, limits: &Limits) -> io::Result<()>;
    /// What the cgroup at `path` has. Shares are read from v1 alone: v2's weight is made of them by formulas that differ
    /// between versions of the runtimes.
    fn read(&self, path: &str) -> io::Result<Limits>;
    /// Memory that the cgroup at `path` and those below it use, in bytes.
    fn memory_used(&self, path: &str) -> io::Result<u64>;
    /// Removes the cgroup at `path` and those below it, in every tree. Fails while a process is in one.
    fn remove(&self, path: &str) -> io::Result<()>;
}

impl Cgroups for Hierarchies {
    fn create(&self, path: &str, limits: &Limits) -> io::Result<()> {
        if self.cpu.is_none() && self.memory.is_none() {
            return match &self.unified {
                Some(root) => create_unified(root, path, limits),
                None => Err(io::Error::new(io::ErrorKind::NotFound, "no cgroup file system is mounted")),
            };
        }
        if let Some(root) = &self.cpu {
            let dir = make(root, path)?;
            write(&dir, "cpu.shares", limits.cpu_shares)?;
            if limits.cpu_quota_us.is_some() {
                write(&dir, "cpu.cfs_period_us", Some(CPU_PERIOD_US))?;
                write(&dir, "cpu.cfs_quota_us", limits.cpu_quota_us)?;
            }
        }
        if let Some(root) = &self.memory {
            let dir = make(root, path)?;
            write(&dir, "memory.limit_in_bytes", limits.memory_bytes)?;
        }
        Ok(())
    }

    fn read(&self, path: &str) -> io::Result<Limits> {
        let mut found = Limits::default();
        if self.cpu.is_none() && self.memory.is_none() {
            let dir = existing(self.unified.as_ref(), path)?;
            let cpu = text(&dir, "cpu.max")?;
            found.cpu_quota_us = cpu.split_once(' ').and_then(|(quota, period)| in_our_period(quota, period));
            found.memory_bytes = text(&dir, "memory.max")?.parse().ok();
            return Ok(found);
        }
        if self.cpu.is_some() {
            let dir = existing(self.cpu.as_ref(), path)?;
            found.cpu_shares = text(&dir, "cpu.shares")?.parse().ok();
            found.cpu_quota_us =
                in_our_period(&text(&dir, "cpu.cfs_quota_us")?, &text(&dir, "cpu.cfs_period_us")?);
        }
        if self.memory.is_some() {
            let text = text(&existing(self.memory.as_ref(), path)?, "memory.limit_in_bytes")?;
            found.memory_bytes = text.parse().ok().filter(|bytes| *bytes < V1_UNLIMITED_BYTES);
        }
        Ok(found)
    }

    fn memory_used(&self, path: &str) -> io::Result<u64> {
        let used = match &self.memory {
            Some(root) => text(&existing(Some(root), path)?, "memory.usage_in_bytes")?,
            None => text(&existing(self.unified.as_ref(), path)?, "memory.current")?,
        };
        used.parse()
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("memory in use is {used:?}")))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let roots = self.unified.iter().chain(&self.cpu).chain(&self.memory).chain(&self.other);
        for root in roots {
            remove_tree(&root.join(path.trim_start_matches('/')), DEPTH_MAX)?;
        }
        Ok(())
    }
}

/// v1's "no limit" is the largest multiple of a page; nothing that somebody means comes near it.
const V1_UNLIMITED_BYTES: u64 = 1 << 62;

/// A quota for each of our periods; None where there is none ("max", or -1).
fn in_our_period(quota: &str, period: &str) -> Option<u64> {
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    Some(quota.saturating_mul(CPU_PERIOD_US) / period.max(1))
}

fn existing(root: Option<&PathBuf>, path: &str) -> io::Result<PathBuf> {
    let none = || io::Error::new(io::ErrorKind::NotFound, "no cgroup file system is mounted");
    Ok(root.ok_or_else(none)?.join(path.trim_start_matches('/')))
}

fn text(dir: &Path, file: &str) -> io::Result<String> {
    let path = dir.join(file);
    let read = std::fs::read_to_string(&path);
    read.map(|text| text.trim().to_owned())
        .map_err(|e| io::Error::new(e.kind(), format!("reading {}: {e}", path.display())))
}

/// Records what would be made and removed, and keeps the limits of what is there.
#[derive(Debug, Default)]
pub struct RecordedCgroups {
    /// One line a call, in order.
    pub calls: parking_lot::Mutex<Vec<String>>,
    /// What each cgroup has.
    pub limits: parking_lot::Mutex<std::collections::BTreeMap<String, Limits>>,
    /// Memory in use of each cgroup, in bytes, as the test says.
    pub used: parking_lot::Mutex<std::collections::BTreeMap<String, u64>>,
}

impl Cgroups for RecordedCgroups {
    fn create(&self, path: &str, limits: &Limits) -> io::Result<()> {
        self.calls.lock().push(format!("create {path}"));
        let mut all = self.limits.lock();
        let present = all.entry(path.to_owned()).or_default();
        present.cpu_shares = limits.cpu_shares.or(present.cpu_shares);
        present.cpu_quota_us = limits.cpu_quota_us.or(present.cpu_quota_us);
        present.memory_bytes = limits.memory_bytes.or(present.memory_bytes);
        Ok(())
    }

    fn read(&self, path: &str) -> io::Result<Limits> {
        let none = || io::Error::new(io::ErrorKind::NotFound, format!("no cgroup {path}"));
        self.limits.lock().get(path).copied().ok_or_else(none)
    }

    fn memory_used(&self, path: &str) -> io::Result<u64> {
        Ok(self.used.lock().get(path).copied().unwrap_or(0))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.calls.lock().push(format!("remove {path}"));
        self.limits.lock().remove(path);
        Ok(())
    }
}

fn make(root: &Path, path: &str) -> io::Result<PathBuf> {
    let dir = root.join(path.trim_start_matches('/'));
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

fn write(dir: &Path, file: &str, value: Option<u64>) -> io::Result<()> {
    match value {
        Some(value) => std::fs::write(dir.join(file), value.to_string()).map_err(|e| {
            io::Error::new(e.kind(), format!("writing {value} to {}: {e}", dir.join(file).display()))
        }),
        None => Ok(()),
    }
}

/// In v2 a controller is only in a cgroup whose ancestors pass it on.
fn create_unified(root: &Path, path: &str, limits: &Limits) -> io::Result<()> {
    let mut dir = root.to_owned();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        for controller in ["+cpu", "+memory", "+pids"] {
            // A controller that this host has not cannot be passed on; its limit below says so.
            let _ = std::fs::write(dir.join("cgroup.subtree_control"), controller);
        }
        dir.push(part);
        std::fs::create_dir_all(&dir)?;
    }
    write(&dir, "cpu.weight", limits.cpu_shares.map(weight_of_shares))?;
    if let Some(quota) = limits.cpu_quota_us {
        std::fs::write(dir.join("cpu.max"), format!("{quota} {CPU_PERIOD_US}"))?;
    }
    write(&dir, "memory.max", limits.memory_bytes)
}

/// v1's 2..=262144 onto v2's 1..=10000, by the formula of the OCI runtime's documentation.
fn weight_of_shares(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9_999 / 262_142
}

fn remove_tree(dir: &Path, depth: usize) -> io::Result<()> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if depth > 0 && entry.file_type()?.is_dir() {
            remove_tree(&entry.path(), depth - 1)?;
        }
    }
    match std::fs::remove_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_v2_and_v1_layouts_are_told_apart() {
        let hybrid = "1 0 0:1 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
            2 0 0:2 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
            3 0 0:3 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            4 0 0:4 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
        let found = Hierarchies::parse(hybrid);
        assert_eq!(found.unified.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
        assert_eq!(found.cpu.as_deref(), Some(Path::new("/sys/fs/cgroup/cpu")));
        assert_eq!(found.other, [Path::new("/sys/fs/cgroup/pids")]);

        let v2 = Hierarchies::parse("1 0 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup rw,nsdelegate\n");
        assert_eq!(v2.unified.as_deref(), Some(Path::new("/sys/fs/cgroup")));
        assert!(v2.cpu.is_none() && v2.memory.is_none());

        let joint = Hierarchies::parse("1 0 0:1 / /c/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n");
        assert_eq!(joint.cpu.as_deref(), Some(Path::new("/c/cpu,cpuacct")));
    }

    #[test]
    fn limits_are_written_where_the_controllers_are_and_the_cgroup_goes_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let (cpu, memory) = (dir.path().join("cpu"), dir.path().join("memory"));
        let trees =
            Hierarchies { cpu: Some(cpu.clone()), memory: Some(memory.clone()), ..Default::default() };
        let limits =
            Limits { cpu_shares: Some(512), cpu_quota_us: Some(50_000), memory_bytes: Some(1 << 20) };
        trees.create("/kubepods/pod1", &limits).unwrap();
        let read = |path: PathBuf| std::fs::read_to_string(path).unwrap();
        assert_eq!(read(cpu.join("kubepods/pod1/cpu.cfs_quota_us")), "50000");
        assert_eq!(read(cpu.join("kubepods/pod1/cpu.shares")), "512");
        assert_eq!(read(memory.join("kubepods/pod1/memory.limit_in_bytes")), "1048576");
        assert_eq!(trees.read("/kubepods/pod1").unwrap(), limits);
        std::fs::write(cpu.join("kubepods/pod1/cpu.cfs_quota_us"), "-1\n").unwrap();
        std::fs::write(memory.join("kubepods/pod1/memory.limit_in_bytes"), "9223372036854771712\n").unwrap();
        std::fs::write(memory.join("kubepods/pod1/memory.usage_in_bytes"), "4096\n").unwrap();
        let unlimited = Limits { cpu_quota_us: None, memory_bytes: None, ..limits };
        assert_eq!(trees.read("/kubepods/pod1").unwrap(), unlimited);
        assert_eq!(trees.memory_used("/kubepods/pod1").unwrap(), 4096);
        assert!(trees.read("/kubepods/pod2").is_err(), "what cannot be read is not without limits");
    }

    #[test]
    fn v2s_words_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let trees = Hierarchies { unified: Some(dir.path().to_owned()), ..Default::default() };
        let put = |cpu: &str, memory: &str| {
            std::fs::write(dir.path().join("cpu.max"), cpu).unwrap();
            std::fs::write(dir.path().join("memory.max"), memory).unwrap();
            trees.read("/").unwrap()
        };
        assert_eq!(put("max 100000\n", "max\n"), Limits::default());
        let half = Limits { cpu_shares: None, cpu_quota_us: Some(50_000), memory_bytes: Some(4096) };
        assert_eq!(put("25000 50000\n", "4096\n"), half);
    }

    #[test]
    fn shares_map_onto_weights_end_to_end() {
        assert_eq!([2, 1024, 262_144].map(weight_of_shares), [1, 39, 10_000]);
    }
}
