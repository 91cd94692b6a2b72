//! What cluster was asked for, remembered under /run so that every later command knows it.

use crate::{build::Profile, paths};
use anyhow::{Context, Result, bail};
use std::{net::Ipv4Addr, path::PathBuf};

/// Where the API server keeps objects.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Store {
    /// In the API server's own process.
    Embedded,
    /// In an etcd of the distribution, one plain member.
    Etcd,
}

/// The cluster that `up` was asked for.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Spec {
    /// The checkout that the cluster belongs to.
    pub(crate) checkout: PathBuf,
    pub(crate) nodes: u8,
    pub(crate) store: Store,
    /// Whether API server, controllers and scheduler are a process each.
    #[serde(default)]
    pub(crate) separate: bool,
    pub(crate) profile: Profile,
    /// The folder that the binaries are taken from, if they are not built by `up`.
    #[serde(default)]
    pub(crate) bin_dir: Option<PathBuf>,
    /// The device of a machine that is the only node; several nodes have their own.
    #[serde(default)]
    pub(crate) uplink: Option<String>,
    /// How long a node may be silent, and its pods stay, if not upstream's 50 s and 300 s.
    pub(crate) node_grace_s: Option<u32>,
    pub(crate) toleration_s: Option<u32>,
}

pub(crate) const SERVICE_CIDR: &str = "10.96.0.0/16";
/// Addresses of all pods, a part of which each node has.
pub(crate) const CLUSTER_CIDR: &str = "10.244.0.0/16";
/// Addresses of several nodes.
pub(crate) const NODES_CIDR: &str = "172.30.0.0/24";
/// Addresses for Services of type LoadBalancer on the wire of several nodes, none of which has one of them.
pub(crate) const LOAD_BALANCER_POOL: &str = "172.30.0.224/28";
pub(crate) const CLUSTER_DNS: &str = "10.96.0.10";
pub(crate) const CLUSTER_DOMAIN: &str = "cluster.local";
pub(crate) const API_PORT: u16 = 6443;

/// The most nodes that the addresses below leave room for.
pub(crate) const NODES_MAX: u8 = 200;

impl Spec {
    /// Everything of the cluster that lasts, wherever the command runs that asks.
    pub(crate) fn folder(&self) -> PathBuf {
        paths::cluster_of(&self.checkout)
    }

    /// Whether the nodes are namespaces of their own.
    pub(crate) fn is_split(&self) -> bool {
        self.nodes > 1
    }

    pub(crate) fn node_names(&self) -> impl Iterator<Item = String> + use<> {
        (1..=self.nodes).map(|number| format!("n{number}"))
    }

    /// Where clients and nodes reach the API server.
    pub(crate) fn api_address(&self) -> Ipv4Addr {
        if self.is_split() { Ipv4Addr::new(172, 30, 0, 2) } else { Ipv4Addr::LOCALHOST }
    }

    pub(crate) fn api_url(&self) -> String {
        format!("https://{}:{API_PORT}", self.api_address())
    }

    pub(crate) fn node_address(&self, number: u8) -> Result<Ipv4Addr> {
        if self.is_split() {
            Ok(Ipv4Addr::new(172, 30, 0, 10 + number))
        } else {
            super::network::host_address()
        }
    }

    /// The control plane's address as pods reach it, through Service default/kubernetes: never loopback.
    pub(crate) fn advertise_address(&self) -> Result<Ipv4Addr> {
        if self.is_split() { Ok(self.api_address()) } else { self.node_address(1) }
    }

    pub(crate) fn pod_cidr(number: u8) -> String {
        format!("10.244.{number}.0/24")
    }

    fn file() -> PathBuf {
        PathBuf::from(paths::RUN).join("cluster.json")
    }

    /// The cluster that is up, or was when it was last heard of.
    pub(crate) fn load() -> Result<Option<Spec>> {
        match std::fs::read(Self::file()) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text).context("reading /run/keelson/cluster.json")?)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).context("reading /run/keelson/cluster.json"),
        }
    }

    /// The running cluster, or an error that says how to get one.
    pub(crate) fn require() -> Result<Spec> {
        Self::load()?.context("no cluster is up here; start one with `cargo xtask up`")
    }

    /// Remembers what was asked for; refuses to turn a running cluster into another one.
    pub(crate) fn claim(&self) -> Result<()> {
        // Where the binaries come from makes no other cluster of it.
        let same = |other: &Spec| *other == Spec { bin_dir: other.bin_dir.clone(), ..self.clone() };
        if let Some(other) = Self::load()?
            && !same(&other)
        {
            bail!(
                "another cluster is up on this machine ({} node(s), store {:?}, {}, {:?} build, checkout {}): \
                 run `cargo xtask down` first",
                other.nodes,
                other.store,
                if other.separate { "separate components" } else { "one control plane process" },
                other.profile,
                other.checkout.display()
            );
        }
        std::fs::create_dir_all(paths::RUN).context("making /run/keelson")?;
        Ok(std::fs::write(Self::file(), serde_json::to_vec_pretty(self)?)?)
    }
}

/// A node's place in the local cluster.
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) number: u8,
    /// The network namespace's name; None is the machine's own.
    pub(crate) netns: Option<String>,
}

impl Place {
    pub(crate) fn of(spec: &Spec, number: u8) -> Place {
        let name = format!("n{number}");
        Place { netns: spec.is_split().then(|| format!("keelson-{name}")), name, number }
    }

    /// By a node's name, as `enter` is given it.
    pub(crate) fn named(spec: &Spec, name: &str) -> Result<Place> {
        match spec.node_names().position(|n| n == name) {
            Some(index) => Ok(Place::of(spec, index as u8 + 1)),
            None => bail!("no node {name}; there are: {}", spec.node_names().collect::<Vec<_>>().join(", ")),
        }
    }

    /// What lasts of this node: the daemon's root.
    pub(crate) fn root(&self) -> PathBuf {
        paths::cluster().join("nodes").join(&self.name)
    }

    /// What does not: sockets and mounts.
    pub(crate) fn run(&self) -> PathBuf {
        PathBuf::from(paths::RUN).join(&self.name)
    }

    pub(crate) fn containerd_socket(&self) -> PathBuf {
        self.run().join("containerd.sock")
    }
}
