//! What a node keeps for its pods and Services, counted where it is kept: at the runtime, on disk, in the kernel.

use anyhow::{Context, Result, ensure};
use keelson_ebpf_common::{
    key,
    layout::{self, Keeping, Shape},
    value,
};
use keelson_sys::bpf::Map;
use keelson_tests::{Cluster, api, kubectl::run};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use zerocopy::FromBytes;

/// Counts of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Sandboxes that the runtime knows.
    pub(crate) sandboxes: usize,
    /// Pods' folders: volumes and logs.
    pub(crate) folders: usize,
    /// Addresses that are leased to a sandbox.
    pub(crate) addresses: usize,
    /// Host ends of pods' links.
    pub(crate) links: usize,
    /// Service ports in the kernel.
    pub(crate) frontends: usize,
    /// Sockets whose Service the kernel remembers.
    pub(crate) connections: usize,
}

impl Kept {
    fn add(&mut self, other: &Kept) {
        self.sandboxes += other.sandboxes;
        self.folders += other.folders;
        self.addresses += other.addresses;
        self.links += other.links;
        self.frontends += other.frontends;
        self.connections += other.connections;
    }
}

/// Of every node.
pub(crate) fn by_nodes(cluster: &Cluster) -> Result<BTreeMap<String, Kept>> {
    cluster.nodes().into_iter().map(|node| Ok((node.clone(), by(cluster, &node)?))).collect()
}

fn by(cluster: &Cluster, node: &str) -> Result<Kept> {
    let root = cluster.folder().join("nodes").join(node);
    let links: Value = serde_json::from_str(&cluster.enter(node, &["ip", "-j", "link", "show"])?)?;
    let is_ours = |link: &&Value| link["ifname"].as_str().is_some_and(|name| name.starts_with("kln"));
    Ok(Kept {
        sandboxes: sandboxes(node)?,
        folders: entries(&root.join("pods"))? + entries(&root.join("logs/pods"))?,
        addresses: leased(&fs::read_to_string(root.join("ipam.journal")).context("reading ipam.journal")?)?,
        links: links.as_array().into_iter().flatten().filter(is_ours).count(),
        frontends: frontends(node)?,
        connections: connections(node)?,
    })
}

/// Sockets whose Service the kernel remembers now, over all nodes.
pub(crate) fn connections_now(cluster: &Cluster) -> Result<usize> {
    cluster.nodes().iter().map(|node| connections(node)).sum()
}

/// What each node should keep, as the API has it: pods on it, and Service ports with a cluster IP.
pub(crate) fn wanted(cluster: &Cluster) -> Result<(BTreeMap<String, usize>, usize)> {
    let mut pods: BTreeMap<String, usize> = cluster.nodes().into_iter().map(|node| (node, 0)).collect();
    for pod in api::list("/api/v1/pods")? {
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        *pods.entry(node.to_string()).or_default() += 1;
    }
    let services = api::list("/api/v1/services")?;
    let addresses = |service: &Value| {
        service["spec"]["clusterIPs"]
            .as_array()
            .map_or(0, |ips| ips.iter().filter(|ip| *ip != "None").count())
    };
    let ports = |service: &Value| service["spec"]["ports"].as_array().map_or(0, Vec::len);
    Ok((pods, services.iter().map(|service| addresses(service) * ports(service)).sum()))
}

/// An error that says what is left over or missing, unless every node keeps exactly what the API's objects ask for. Answers
/// the sums over all nodes.
pub(crate) fn exactly_what_is_wanted(cluster: &Cluster, before: &BTreeMap<String, Kept>) -> Result<Kept> {
    let (pods, frontends) = wanted(cluster)?;
    let mut sum = Kept::default();
    for (node, kept) in by_nodes(cluster)? {
        let pods = pods.get(&node).copied().unwrap_or_default();
        let right = kept.sandboxes == pods
            && kept.addresses == pods
            && kept.links == pods
            && kept.folders == 2 * pods;
        ensure!(right, "{node} has {pods} pod(s) and keeps {kept:?}");
        ensure!(
            kept.frontends == frontends,
            "the API has {frontends} Service ports, and {node} keeps {kept:?}"
        );
        let connections = before.get(&node).map_or(0, |kept| kept.connections);
        ensure!(
            kept.connections <= connections + CONNECTIONS_SPARE,
            "{node} remembered {connections} connection(s) before, now {kept:?}"
        );
        sum.add(&kept);
    }
    Ok(sum)
}

/// Sockets of the node's own processes come and go meanwhile; those of the load were thousands.
const CONNECTIONS_SPARE: usize = 8;

fn sandboxes(node: &str) -> Result<usize> {
    let mut ctr = Command::new("ctr");
    ctr.args(["--namespace", "k8s.io", "--address", &format!("/run/keelson/{node}/containerd.sock")]);
    ctr.args(["containers", "list", "--quiet", "labels.\"io.cri-containerd.kind\"==sandbox"]);
    let answer = run(ctr, None)?;
    ensure!(answer.code == Some(0), "ctr ended with {:?}: {}", answer.code, answer.stderr);
    Ok(answer.stdout.lines().filter(|line| !line.is_empty()).count())
}

fn entries(folder: &Path) -> Result<usize> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(entries.count()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(e).with_context(|| format!("reading {}", folder.display())),
    }
}

/// The journal holds a line for each lease and each release.
fn leased(journal: &str) -> Result<usize> {
    let mut leased = std::collections::BTreeSet::new();
    for line in journal.lines().filter(|line| !line.is_empty()) {
        let record: Value =
            serde_json::from_str(line).with_context(|| format!("a line of ipam.journal: {line}"))?;
        if let Some(sandbox) = record["lease"]["sandbox"].as_str() {
            leased.insert(sandbox.to_string());
        } else if let Some(sandbox) = record["release"]["sandbox"].as_str() {
            leased.remove(sandbox);
        }
    }
    Ok(leased.len())
}

fn frontends(node: &str) -> Result<usize> {
    // While a frontend changes it has two lines.
    let mut four = std::collections::BTreeSet::new();
    for shard in open(node, &layout::FRONTENDS4)?.entries()?.values.as_chunks::<4>().0 {
        let lines = Map::open_id(u32::from_ne_bytes(*shard))?.entries()?.values;
        let lines = lines.chunks_exact(size_of::<value::Line4>());
        let lines = lines.filter_map(|bytes| value::Line4::read_from_bytes(bytes).ok());
        four.extend(lines.filter(|line| line.head.published != 0).map(|line| line.key));
    }
    let six = open(node, &layout::FRONTENDS6)?.entries()?.keys.len() / size_of::<key::Frontend6>();
    Ok(four.len() + six)
}

fn connections(node: &str) -> Result<usize> {
    let slots = open(node, &layout::CONNECTIONS)?.entries()?.values;
    let taken = slots
        .chunks_exact(size_of::<value::ConnectionSlot>())
        .filter_map(|bytes| value::ConnectionSlot::read_from_bytes(bytes).ok())
        .filter(|slot| slot.cookie != 0)
        .count();
    Ok(taken + open(node, &layout::CONNECTIONS_SPILLED)?.entries()?.keys.len() / size_of::<u64>())
}

/// Where `keelson_dataplane::maps` pins a map.
fn open(node: &str, shape: &Shape) -> Result<Map> {
    let pins = PathBuf::from("/sys/fs/bpf/keelson").join(node);
    let pin = match shape.keeping {
        Keeping::Config => tables(&pins)?.join(shape.name),
        Keeping::State(version) => pins.join("state").join(format!("{}-{version}", shape.name)),
    };
    Map::open_pinned(&pin)?.with_context(|| format!("no map is pinned at {}", pin.display()))
}

/// The folder of the tables, whose name ends in their scale: for a moment there are two, while they are made anew a size up.
fn tables(pins: &Path) -> Result<PathBuf> {
    let ours = format!("maps-{:016x}", layout::CONFIG_HASH);
    let mut found = Vec::new();
    for entry in fs::read_dir(pins).with_context(|| format!("reading {}", pins.display()))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&ours) {
            found.push(entry.path());
        }
    }
    ensure!(found.len() < 2, "{} has tables of two sizes: {found:?}", pins.display());
    found.pop().with_context(|| format!("{} has no tables of this layout", pins.display()))
}

#[cfg(test)]
mod tests {
    use super::leased;

    #[test]
    fn a_released_address_is_not_leased() {
        let journal = r#"{"rest":{"address":"10.244.1.9","second":1}}
{"lease":{"sandbox":"a","pod":"x/a","address":"10.244.1.2"}}
{"lease":{"sandbox":"b","pod":"x/b","address":"10.244.1.3"}}
{"release":{"address":"10.244.1.2","sandbox":"a","second":2}}
"#;
        assert_eq!(leased(journal).unwrap(), 1);
        assert!(leased("half a li").is_err());
    }
}
