//! `down`: no process, namespace, link, mount, cgroup, BPF pin, sysctl or image of the cluster stays.

use super::{Spec, cgroup, network, node, spec::NODES_MAX};
use crate::{
    paths,
    shell::{Progress, cmd, output},
};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask down\n  cargo xtask down --keep-data    then `up` starts with the same objects\nAny checkout may take down the cluster of another: /run/keelson says whose it is."
)]
pub(crate) struct Args {
    /// Keep target/cluster: keys, objects, images, logs
    #[arg(long)]
    pub(crate) keep_data: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("`down` removes namespaces, mounts and cgroups: run it as root");
    }
    let progress = Progress::start();
    let spec = Spec::load()?;
    let folders = cluster_folders(spec.as_ref());
    progress.step("stopping every process");
    cgroup::kill("")?;
    progress.step("removing mounts, pins, namespaces and cgroups");
    unmount_below(Path::new(paths::RUN))?;
    for folder in &folders {
        unmount_below(folder)?;
    }
    remove_pins()?;
    if let Some(spec) = &spec
        && !spec.is_split()
    {
        remove_from_the_machine()?;
        restore_sysctls(&spec.folder())?;
    }
    network::remove()?;
    network::remove_lo_addresses()?;
    cgroup::remove_all()?;
    remove_folder(Path::new(paths::RUN))?;
    if !args.keep_data {
        folders.iter().try_for_each(|folder| remove_folder(folder))?;
    }
    progress.step("down");
    Ok(())
}

/// The folder of the cluster that is up, whichever checkout started it, and this checkout's own, in which a cluster of
/// before the last boot may have left something.
fn cluster_folders(spec: Option<&Spec>) -> Vec<PathBuf> {
    let mut folders = vec![paths::cluster()];
    folders.extend(spec.map(Spec::folder).filter(|folder| *folder != paths::cluster()));
    folders
}

/// The innermost mount first; a mount may lie on another.
fn unmount_below(folder: &Path) -> Result<()> {
    let text = fs::read_to_string("/proc/self/mountinfo").context("reading /proc/self/mountinfo")?;
    let points = text.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    let mut points: Vec<PathBuf> = points.filter(|point| point.starts_with(folder)).collect();
    points.sort();
    for point in points.iter().rev() {
        nix::mount::umount2(point, nix::mount::MntFlags::MNT_DETACH)
            .with_context(|| format!("unmounting {}", point.display()))?;
    }
    Ok(())
}

/// A pinned link holds its program at the hook: without its pin both go. Only those of a local cluster's nodes: tests and
/// measurements that run beside it have pins of their own in the same folder.
fn remove_pins() -> Result<()> {
    let folder = Path::new(node::BPFFS).join("keelson");
    for number in 1..=NODES_MAX {
        remove_folder(&folder.join(format!("n{number}")))?;
    }
    match fs::remove_dir(&folder) {
        Err(e) if ![ErrorKind::NotFound, ErrorKind::DirectoryNotEmpty].contains(&e.kind()) => {
            Err(e).with_context(|| format!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// What a node leaves in the machine's own network namespace: pods' links and the DNS address.
fn remove_from_the_machine() -> Result<()> {
    for link in our_links()? {
        // The kernel is taking them away already, with the pods' namespaces: one that is gone meanwhile is as good.
        let deleted = output(&mut cmd("ip", ["link", "delete", &link]));
        if deleted.is_err() && our_links()?.contains(&link) {
            deleted?;
        }
    }
    network::remove_from_lo(&super::spec::CLUSTER_DNS)
}

/// Names of the host ends of pods' veth pairs, which all start alike, and of the tunnel to other nodes.
fn our_links() -> Result<Vec<String>> {
    let links: serde_json::Value = serde_json::from_str(&output(&mut cmd("ip", ["-j", "link", "show"]))?)?;
    let names = links.as_array().into_iter().flatten().filter_map(|link| link["ifname"].as_str());
    Ok(names.filter(|name| name.starts_with("kln") || *name == "keelson-vxlan").map(str::to_string).collect())
}

/// Each node daemon writes what it changed, with the value before, to sysctls.json in its root. Those of a namespace go
/// with the namespace; those of this machine are put back.
fn restore_sysctls(cluster: &Path) -> Result<()> {
    let nodes = cluster.join("nodes");
    for node in fs::read_dir(&nodes).into_iter().flatten() {
        let file = node?.path().join("sysctls.json");
        let text = match fs::read(&file) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.with_context(|| format!("reading {}", file.display()))?,
        };
        let before: std::collections::BTreeMap<PathBuf, String> = serde_json::from_slice(&text)?;
        for (sysctl, value) in before.into_iter().filter(|(sysctl, _)| sysctl.exists()) {
            fs::write(&sysctl, value).with_context(|| format!("restoring {}", sysctl.display()))?;
        }
        fs::remove_file(&file)?;
    }
    Ok(())
}

fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.with_context(|| format!("removing {}", folder.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        build::Profile,
        cluster::{
            Store,
            spec::{IpFamily, Translation, Tunnel},
        },
    };

    fn of(checkout: &Path) -> Spec {
        Spec {
            checkout: checkout.to_path_buf(),
            nodes: 1,
            store: Store::Embedded,
            separate: false,
            ip_family: IpFamily::Dual,
            profile: Profile::Dev,
            segments: 1,
            tunnel: Tunnel::Auto,
            translation: Translation::Auto,
            bin_dir: None,
            uplink: None,
            node_grace_s: None,
            toleration_s: None,
        }
    }

    #[test]
    fn the_folder_of_the_checkout_that_ran_up_is_taken_down_too() {
        let (own, other) = (paths::cluster(), Path::new("/elsewhere"));
        let rows = [
            (None, vec![own.clone()]),
            (Some(of(&paths::root())), vec![own.clone()]),
            (Some(of(other)), vec![own, other.join("target/cluster")]),
        ];
        for (spec, folders) in rows {
            assert_eq!(cluster_folders(spec.as_ref()), folders);
        }
    }
}
