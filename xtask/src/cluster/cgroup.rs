//! The cluster's cgroup trees: `keelson/<component>`, in the v2 hierarchy for membership (and killing), in whichever has
//! the controllers for the rest.

use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Mount points of the cgroup hierarchies of one file system type, as /proc/self/mountinfo has them.
fn mounts(fs_type: &str) -> Result<Vec<PathBuf>> {
    let text = fs::read_to_string("/proc/self/mountinfo").context("reading /proc/self/mountinfo")?;
    // Fields: id parent dev root mount-point options... - type source options (proc_pid_mountinfo(5)).
    let line = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        (right.split(' ').next()? == fs_type)
            .then(|| PathBuf::from(left.split(' ').nth(4).unwrap_or_default()))
    };
    Ok(text.lines().filter_map(line).collect())
}

/// Where cgroup2 is mounted.
pub(crate) fn v2_root() -> Result<PathBuf> {
    mounts("cgroup2")?
        .into_iter()
        .next()
        .context("no cgroup2 file system is mounted; Keelson needs one (v2 or hybrid layout)")
}

/// Makes `keelson/<path>` in the v2 tree.
pub(crate) fn ensure(path: &str) -> Result<PathBuf> {
    let folder = v2_root()?.join("keelson").join(path);
    fs::create_dir_all(&folder).with_context(|| format!("making the cgroup {}", folder.display()))?;
    Ok(folder)
}

/// Kills every process below `keelson/<path>` (all of it with an empty path) and waits until none is left.
pub(crate) fn kill(path: &str) -> Result<()> {
    let folder = v2_root()?.join("keelson").join(path);
    if !folder.exists() {
        return Ok(());
    }
    fs::write(folder.join("cgroup.kill"), "1").with_context(|| format!("killing {}", folder.display()))?;
    let deadline = Instant::now() + Duration::from_secs(20);
    while populated(&folder)? {
        anyhow::ensure!(
            Instant::now() < deadline,
            "processes in {} outlive SIGKILL by 20 s",
            folder.display()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn populated(folder: &Path) -> Result<bool> {
    let events = folder.join("cgroup.events");
    let text = fs::read_to_string(&events).with_context(|| format!("reading {}", events.display()))?;
    Ok(text.lines().any(|line| line == "populated 1"))
}

/// Removes `keelson` from every hierarchy; all its processes must be gone.
pub(crate) fn remove_all() -> Result<()> {
    for mount in [mounts("cgroup2")?, mounts("cgroup")?].concat() {
        remove_tree(&mount.join("keelson"))?;
    }
    Ok(())
}

fn remove_tree(folder: &Path) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.with_context(|| format!("reading {}", folder.display()))?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(folder).with_context(|| format!("removing the cgroup {}", folder.display()))
}
