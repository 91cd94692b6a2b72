//! What cluster was asked for, remembered under /run so that every later command knows it.

use crate::{build::Profile, paths};
use anyhow::{Context, Result, bail};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

/// Where the API server keeps objects.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Store {
    /// In the API server's own process.
    Embedded,
    /// In an etcd of the distribution, one plain member.
    Etcd,
}

/// Which IP families pods, nodes and Services have addresses of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum IpFamily {
    /// IPv4 alone.
    Ipv4,
    /// IPv6 alone.
    Ipv6,
    /// Both, IPv4 first.
    Dual,
}

impl IpFamily {
    /// What of a pair of an IPv4 and an IPv6 thing there is, the primary one first.
    fn of<T>(self, v4: T, v6: T) -> Vec<T> {
        match self {
            IpFamily::Ipv4 => vec![v4],
            IpFamily::Ipv6 => vec![v6],
            IpFamily::Dual => vec![v4, v6],
        }
    }

    /// A cluster of before there was a choice.
    fn of_old() -> IpFamily {
        IpFamily::Ipv4
    }
}

/// When packets between nodes go by VXLAN, as `keelson-node run --tunnel` is told.
#[derive(
    Clone, Copy, Default, PartialEq, Eq, Debug, clap::ValueEnum, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tunnel {
    /// Where they are not adjacent.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Tunnel {
    /// As a flag has it.
    pub(crate) fn flag(self) -> &'static str {
        match self {
            Tunnel::Auto => "auto",
            Tunnel::Always => "always",
            Tunnel::Never => "never",
        }
    }
}

/// `--translation` of the node daemon.
#[derive(
    Clone, Copy, Default, PartialEq, Eq, Debug, clap::ValueEnum, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Translation {
    /// As the uplink is.
    #[default]
    Auto,
    /// By XDP.
    Wire,
    /// By tc.
    Tc,
}

impl Translation {
    /// As a flag has it.
    pub(crate) fn flag(self) -> &'static str {
        match self {
            Translation::Auto => "auto",
            Translation::Wire => "wire",
            Translation::Tc => "tc",
        }
    }
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
    #[serde(default = "IpFamily::of_old")]
    pub(crate) ip_family: IpFamily,
    pub(crate) profile: Profile,
    /// How many networks the nodes are on: all but the first have one node each, behind a router.
    #[serde(default = "Spec::one_segment")]
    pub(crate) segments: u8,
    #[serde(default)]
    pub(crate) tunnel: Tunnel,
    #[serde(default)]
    pub(crate) translation: Translation,
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

/// Addresses for Services of type LoadBalancer on the wire of several nodes, none of which has one of them.
const LOAD_BALANCER_POOL: [&str; 2] = ["172.30.0.224/28", "fd00:172:30::e0/124"];
/// Addresses of Services, by family.
const SERVICE_CIDR: [&str; 2] = ["10.96.0.0/16", "fd00:10:96::/112"];
/// Addresses of all pods, a part of which the control plane gives each node.
const CLUSTER_CIDR: [&str; 2] = ["10.244.0.0/16", "fd00:10:244::/56"];
pub(crate) const CLUSTER_DNS: [&str; 2] = ["10.96.0.10", "fd00:10:96::a"];
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

    /// The addresses for load balancers for which the nodes answer on their wire, as a flag has them; `None` where there is not one
    /// wire that all of them are on.
    pub(crate) fn load_balancer_pool(&self) -> Option<String> {
        (self.is_split() && self.segments == 1).then(|| self.of_families(LOAD_BALANCER_POOL).join(","))
    }

    /// A cluster of before there was a choice.
    fn one_segment() -> u8 {
        1
    }

    /// Which network a node is on: 0 is that of the control plane and of all nodes but the last ones.
    pub(crate) fn segment_of(&self, number: u8) -> u8 {
        (number + self.segments - 1).saturating_sub(self.nodes)
    }

    pub(crate) fn node_names(&self) -> impl Iterator<Item = String> + use<> {
        (1..=self.nodes).map(|number| format!("n{number}"))
    }

    /// Where clients and nodes reach the API server: by IPv4 whatever the cluster's own families are.
    pub(crate) fn api_address(&self) -> Ipv4Addr {
        if self.is_split() { Ipv4Addr::new(172, 30, 0, 2) } else { Ipv4Addr::LOCALHOST }
    }

    pub(crate) fn api_url(&self) -> String {
        format!("https://{}:{API_PORT}", self.api_address())
    }

    /// A node's addresses, the primary one first.
    pub(crate) fn node_addresses(&self, number: u8) -> Result<Vec<IpAddr>> {
        if self.is_split() {
            return Ok(self.wire_addresses(self.segment_of(number), 10 + u16::from(number)));
        }
        use super::network::{host_address, host_address6};
        Ok(match self.ip_family {
            IpFamily::Ipv4 => vec![host_address()?.into()],
            IpFamily::Ipv6 => vec![host_address6()?.into()],
            IpFamily::Dual => vec![host_address()?.into(), host_address6()?.into()],
        })
    }

    /// A node's IPv4 address on its wire, which it has whatever the cluster's families are: the API server is reached by it.
    pub(crate) fn wire_address4(&self, number: u8) -> Ipv4Addr {
        Ipv4Addr::new(172, 30, self.segment_of(number), 10 + number)
    }

    /// Addresses on a wire of a cluster of several nodes; the primary one first.
    fn wire_addresses(&self, segment: u8, number: u16) -> Vec<IpAddr> {
        let v4 = Ipv4Addr::from(u32::from(Ipv4Addr::new(172, 30, segment, 0)) + u32::from(number));
        let v6 = Ipv6Addr::new(0xfd00, 0x172, 0x30, segment.into(), 0, 0, 0, number);
        self.ip_family.of(v4.into(), v6.into())
    }

    /// The control plane's addresses as pods reach it, the first through Service default/kubernetes: never loopback.
    pub(crate) fn advertise_addresses(&self) -> Result<Vec<IpAddr>> {
        if self.is_split() { Ok(self.wire_addresses(0, 2)) } else { self.node_addresses(1) }
    }

    /// Ranges of Service addresses, the primary one first, as flags have them.
    pub(crate) fn service_cidr(&self) -> String {
        self.of_families(SERVICE_CIDR).join(",")
    }

    /// Ranges of pods' addresses, the same way.
    pub(crate) fn cluster_cidr(&self) -> String {
        self.of_families(CLUSTER_CIDR).join(",")
    }

    /// Ranges of the addresses of a node and those on its wire, the same way: all but the first eight, among them those of the
    /// machine and routers, which have no way to pods and must see nodes instead. The control plane has one on a single wire.
    pub(crate) fn nodes_cidr(&self, number: u8) -> String {
        let control_plane = self.pods_from_control_plane().then(|| self.wire_addresses(0, 2));
        let alone = |address: &IpAddr| format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 });
        let control_plane = control_plane.iter().flatten().map(alone);
        let ranges = (3..8).flat_map(|bits| {
            let prefix = move |address: &IpAddr| if address.is_ipv4() { 32 - bits } else { 128 - bits };
            let addresses = self.wire_addresses(self.segment_of(number), 1 << bits).into_iter();
            addresses.map(move |address| format!("{address}/{}", prefix(&address)))
        });
        control_plane.chain(ranges).collect::<Vec<_>>().join(",")
    }

    /// Whether the API server reaches pods by their addresses: proxies, webhooks and aggregated servers are theirs.
    pub(crate) fn pods_from_control_plane(&self) -> bool {
        self.is_split() && self.segments == 1
    }

    /// The address of the cluster's DNS, of the primary family: what pods of either ask, they can all reach.
    pub(crate) fn cluster_dns(&self) -> &'static str {
        self.of_families(CLUSTER_DNS)[0]
    }

    fn of_families(&self, [v4, v6]: [&'static str; 2]) -> Vec<&'static str> {
        self.ip_family.of(v4, v6)
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
                "another cluster is up on this machine ({} node(s), store {:?}, IP family {:?}, {}, {:?} build, \
                 checkout {}): run `cargo xtask down` first",
                other.nodes,
                other.store,
                other.ip_family,
                if other.separate { "separate components" } else { "one control plane process" },
                other.profile,
                other.checkout.display()
            );
        }
        std::fs::create_dir_all(paths::RUN).context("making /run/keelson")?;
        Ok(std::fs::write(Self::file(), serde_json::to_vec_pretty(self)?)?)
    }
}

/// Addresses as a flag has them.
pub(crate) fn joined(addresses: &[IpAddr]) -> String {
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_have_all_ranges_of_the_wire_but_the_first() {
        let spec = Spec {
            checkout: PathBuf::new(),
            nodes: 2,
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
        };
        let ranges = spec.nodes_cidr(1);
        let control_plane = "172.30.0.2/32,fd00:172:30::2/128";
        let begin = format!("{control_plane},172.30.0.8/29,fd00:172:30::8/125,172.30.0.16/28,");
        assert!(ranges.starts_with(&begin), "{ranges}");
        assert!(ranges.ends_with("172.30.0.128/25,fd00:172:30::80/121"), "{ranges}");
        assert_eq!(joined(&spec.node_addresses(1).unwrap()), "172.30.0.11,fd00:172:30::b");
        assert_eq!(spec.load_balancer_pool().as_deref(), Some("172.30.0.224/28,fd00:172:30::e0/124"));
        let far = Spec { segments: 2, ..spec };
        assert_eq!(joined(&far.node_addresses(1).unwrap()), "172.30.0.11,fd00:172:30::b");
        assert_eq!(joined(&far.node_addresses(2).unwrap()), "172.30.1.12,fd00:172:30:1::c");
        assert!(far.nodes_cidr(2).starts_with("172.30.1.8/29,fd00:172:30:1::8/125,"));
        assert_eq!(far.load_balancer_pool(), None);
    }
}
