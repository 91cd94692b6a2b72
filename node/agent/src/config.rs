//! The command line of `keelson-node run`, and what follows from it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use ipnet::IpNet;
use keelson_cni::tunnel::Mode;
use keelson_dataplane::{PacketOptions, PortAddresses, Talk, Translation, WireOptions, plan::Forwarding};

/// Parts of the daemon that can be left out, by name.
const PARTS: [&str; 8] = ["cni", "dataplane", "fq", "metrics", "native-xdp", "packets", "tcx", "xdp"];

/// kube-proxy's port for health checks.
const PROXY_HEALTHZ_PORT: u16 = 10256;

/// What every data plane is told, with or without a kubelet around it.
#[derive(Args, Debug)]
pub(crate) struct ProxyArgs {
    /// A mounted bpffs
    #[arg(long, default_value = "/sys/fs/bpf")]
    pub(crate) bpffs: PathBuf,
    /// Where node ports are reached: networks of the node's addresses, or `primary` [default: the node's addresses, and loopback
    /// for the node's own processes]
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) nodeport_addresses: PortAddresses,
    /// Where kube-proxy's /healthz and /livez are answered [default: port 10256 of every address of the node's families]
    #[arg(long)]
    proxy_healthz_address: Option<SocketAddr>,
    /// The compiled programs of the data plane [default: those of this binary or its installation]
    #[arg(long)]
    pub(crate) ebpf_object: Option<PathBuf>,
    /// Have the programs in the kernel say what they decide, into this log: each choice of a backend, each drop, each verdict of
    /// the wire. Costs a microsecond a message, and nothing without the flag
    #[arg(long)]
    debug_programs: bool,
}

impl ProxyArgs {
    /// Where the data plane's health is told. IPv6's wildcard takes both families.
    pub(crate) fn healthz(&self, node_ips: &[IpAddr]) -> SocketAddr {
        let any: IpAddr = if node_ips.iter().any(IpAddr::is_ipv6) {
            Ipv6Addr::UNSPECIFIED.into()
        } else {
            Ipv4Addr::UNSPECIFIED.into()
        };
        self.proxy_healthz_address.unwrap_or(SocketAddr::new(any, PROXY_HEALTHZ_PORT))
    }

    /// Whether the programs say what they decide.
    pub(crate) fn talk(&self) -> Talk {
        if self.debug_programs { Talk::Everything } else { Talk::Silent }
    }

    /// The compiled programs.
    pub(crate) fn object(&self) -> keelson_dataplane::Object {
        match &self.ebpf_object {
            Some(path) => keelson_dataplane::Object::File(path.clone()),
            None => keelson_dataplane::Object::Installed,
        }
    }
}

/// A node daemon's settings.
#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// Name of the Node object
    #[arg(long)]
    pub(crate) name: String,
    /// Address and credentials of the API server
    #[arg(long)]
    pub(crate) kubeconfig: PathBuf,
    /// Folder for everything that is kept
    #[arg(long)]
    pub(crate) root: PathBuf,
    /// Folder for sockets [default: the root folder]
    #[arg(long)]
    pub(crate) run_dir: Option<PathBuf>,
    /// CRI socket of the container runtime, such as unix:///run/containerd/containerd.sock
    #[arg(long)]
    pub(crate) runtime_endpoint: String,
    /// cgroup v2 folder whose processes' connections to Services are translated
    #[arg(long)]
    pub(crate) cgroup_root: PathBuf,
    /// Parent of the pods' cgroups, relative to each hierarchy's root
    #[arg(long, default_value = "/")]
    pub(crate) cgroup_parent: String,
    /// Addresses of the node's pods, of each IP family any number of ranges; must be those of the Node object, if it has any
    /// [default: those of the Node object, once the control plane gives it some]
    #[arg(long, value_delimiter = ',')]
    pub(crate) pod_cidr: Vec<IpNet>,
    /// Addresses of the node, the primary one first; at most one of each IP family
    #[arg(long, value_delimiter = ',', required = true)]
    pub(crate) node_ip: Vec<IpAddr>,
    /// Addresses of Services, one range of each IP family
    #[arg(long, value_delimiter = ',', default_value = "10.96.0.0/16")]
    pub(crate) service_cidr: Vec<IpNet>,
    /// Name servers of pods
    #[arg(long, value_delimiter = ',', default_value = "10.96.0.10")]
    pub(crate) cluster_dns: Vec<IpAddr>,
    /// Domain of Services' names
    #[arg(long, default_value = "cluster.local")]
    pub(crate) cluster_domain: String,
    /// Where the runtime looks for CNI configurations
    #[arg(long)]
    pub(crate) cni_conf_dir: PathBuf,
    /// Where the runtime looks for CNI plugins
    #[arg(long)]
    pub(crate) cni_bin_dir: PathBuf,
    /// Bytes of an IP packet on the nodes' wires
    #[arg(long, default_value_t = 1500)]
    pub(crate) mtu: u32,
    /// When packets to other nodes' pods go by VXLAN (UDP port 8472, to be closed towards the world): where a node is not
    /// adjacent, to all, or never. Pods' packets are shorter by what is around them
    #[arg(long, value_enum, default_value_t = TunnelArg::Auto)]
    pub(crate) tunnel: TunnelArg,
    /// Port of the kubelet's HTTPS API
    #[arg(long, default_value_t = 10250)]
    pub(crate) api_port: u16,
    /// Serving certificate of the kubelet's API (PEM)
    #[arg(long)]
    pub(crate) tls_cert: PathBuf,
    /// Its key (PEM)
    #[arg(long)]
    pub(crate) tls_key: PathBuf,
    /// CA of client certificates for the kubelet's API (PEM); callers without one show a token of the cluster
    #[arg(long)]
    pub(crate) client_ca: PathBuf,
    /// Most pods on this node
    #[arg(long, default_value_t = 110)]
    pub(crate) max_pods: u32,
    #[command(flatten)]
    pub(crate) proxy: ProxyArgs,
    /// Device by which the node reaches other nodes and the world; without it, Services are not answered from outside and
    /// nothing is masqueraded
    #[arg(long)]
    pub(crate) uplink: Option<String>,
    /// Answer ARP and neighbour discovery on the uplink for addresses of Services of type LoadBalancer without a class; each address is one node's
    #[arg(long, requires = "uplink")]
    pub(crate) announce: bool,
    /// Addresses of all pods of the cluster, one range of each IP family; with it and --uplink, what pods send elsewhere gets the node's address
    #[arg(long, value_delimiter = ',')]
    pub(crate) cluster_cidr: Vec<IpNet>,
    /// Further addresses that pods reach as themselves, such as the network of nodes that have routes to their pods
    #[arg(long, value_delimiter = ',')]
    pub(crate) non_masquerade_cidr: Vec<IpNet>,
    /// Ports of Services on nodes, as the API server hands them out
    #[arg(long, default_value = "30000-32767", value_parser = port_range)]
    pub(crate) service_node_port_range: RangeInclusive<u16>,
    /// How packets from outside reach backends on other nodes, unless a Service says so by the annotation
    /// keelson.dev/forwarding: with the node's address as their source (snat), or with the client's, so that the backend's node
    /// answers the client itself (dsr; every node needs --uplink and --cluster-cidr)
    #[arg(long, value_enum, default_value_t = ForwardingArg::Snat)]
    pub(crate) forwarding: ForwardingArg,
    /// Size of the table by which connections to directly answered Services keep their backend: lines of 64 bytes for three
    /// connections each, a power of two; where the node has an IPv6 address there are as many lines of one connection of IPv6 each
    #[arg(long, default_value_t = keelson_ebpf_common::limits::KNOWN_LINES, value_parser = known_flow_lines)]
    pub(crate) known_flow_lines: u32,
    /// Where packets from outside get the node's address, and their answers the Service's: by XDP on the wire (wire), by tc (tc), or by
    /// XDP unless the uplink is a link to somebody on the same machine (veth and the like), whose packets may come without
    /// the checksums that XDP needs (auto)
    #[arg(long, value_enum, default_value_t = TranslationArg::Auto)]
    pub(crate) translation: TranslationArg,
    /// Parts to leave out: cni, dataplane, metrics (of connections to Services), packets (the per-packet programs), tcx,
    /// xdp (the program on the uplink's wire), native-xdp (it runs in the kernel's generic path), fq (at the uplink, for bounds of what
    /// pods send: queues in the pods instead)
    #[arg(long, value_delimiter = ',')]
    pub(crate) without: Vec<String>,
}

/// `--forwarding`.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum ForwardingArg {
    /// The node's address as the source.
    Snat,
    /// Direct server return.
    Dsr,
}

/// `--tunnel`.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum TunnelArg {
    /// Where a node is reached by a router.
    Auto,
    /// To every node.
    Always,
    /// Never.
    Never,
}

impl From<TunnelArg> for Mode {
    fn from(arg: TunnelArg) -> Self {
        match arg {
            TunnelArg::Auto => Self::Auto,
            TunnelArg::Always => Self::Always,
            TunnelArg::Never => Self::Never,
        }
    }
}

/// `--translation`.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum TranslationArg {
    /// As the uplink is.
    Auto,
    /// By XDP.
    Wire,
    /// By tc.
    Tc,
}

fn known_flow_lines(text: &str) -> Result<u32, String> {
    const MAX: u32 = keelson_ebpf_common::limits::KNOWN_LINES_MAX;
    let lines = text.parse().ok().filter(|lines: &u32| lines.is_power_of_two() && (2..=MAX).contains(lines));
    lines.ok_or_else(|| format!("give a power of two from 2 to {MAX}"))
}

/// Two ports with a dash between them.
pub(crate) fn port_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let ends = text.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    match ends {
        Some((first, last)) if first <= last => Ok(first..=last),
        _ => Err("give two ports, such as 30000-32767".into()),
    }
}

impl RunArgs {
    /// What the per-packet programs are told; `None` without them.
    pub(crate) fn packets(&self, object: &keelson_dataplane::Object) -> Option<PacketOptions> {
        if self.uplink.is_some() && self.cluster_cidr.is_empty() {
            tracing::info!(
                "what pods send out of the cluster keeps their addresses: --cluster-cidr is not given"
            );
        }
        let never_masqueraded = self.cluster_cidr.iter().chain(&self.non_masquerade_cidr).copied().collect();
        self.has("packets").then(|| PacketOptions {
            object: object.clone(),
            uplink: self.uplink.clone(),
            node_addresses: self.node_ip.clone(),
            masquerade: !self.cluster_cidr.is_empty(),
            never_masqueraded,
            node_ports: self.service_node_port_range.clone(),
            foreign_pods: false,
            announce: self.announce,
            talk: self.proxy.talk(),
            without_tcx: !self.has("tcx"),
            wire: self.has("xdp").then(|| WireOptions {
                without_native: !self.has("native-xdp"),
                known_lines: self.known_flow_lines,
                translation: match self.translation {
                    TranslationArg::Auto => Translation::Auto,
                    TranslationArg::Wire => Translation::Wire,
                    TranslationArg::Tc => Translation::Tc,
                },
            }),
            forwarding: match self.forwarding {
                ForwardingArg::Snat => Forwarding::Snat,
                ForwardingArg::Dsr => Forwarding::Dsr,
            },
        })
    }

    /// Path of the runtime's socket.
    pub(crate) fn runtime_socket(&self) -> anyhow::Result<PathBuf> {
        let path = self.runtime_endpoint.strip_prefix("unix://").unwrap_or(&self.runtime_endpoint);
        if !path.starts_with('/') {
            bail!(
                "--runtime-endpoint {} is not a Unix socket: give unix:///absolute/path",
                self.runtime_endpoint
            );
        }
        Ok(path.into())
    }

    /// Whether a part is to run.
    pub(crate) fn has(&self, part: &str) -> bool {
        !self.without.iter().any(|name| name == part)
    }

    /// Refuses what cannot work, before anything is started.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        for name in &self.without {
            if !PARTS.contains(&name.as_str()) {
                bail!("--without {name}: there is no such part; there are: {}", PARTS.join(", "));
            }
        }
        if !self.cni_bin_dir.join("keelson-cni").exists() && self.has("cni") {
            bail!("--cni-bin-dir {} does not hold the plugin keelson-cni", self.cni_bin_dir.display());
        }
        let v4 = self.node_ip.iter().filter(|ip| ip.is_ipv4()).count();
        if v4 > 1 || self.node_ip.len() - v4 > 1 {
            bail!("--node-ip may name one address of each IP family");
        }
        for range in &self.pod_cidr {
            if !self.node_ip.iter().any(|ip| ip.is_ipv4() == range.addr().is_ipv4()) {
                bail!("--pod-cidr {range}: no address of --node-ip is of its family");
            }
        }
        for dns in &self.cluster_dns {
            if !self.service_cidr.iter().any(|range| range.contains(dns)) {
                tracing::warn!(%dns, "the cluster's DNS is not a Service address of this cluster");
            }
        }
        self.runtime_socket().map(drop)
    }

    /// The kubelet's settings.
    pub(crate) fn kubelet(&self) -> anyhow::Result<keelson_kubelet::Config> {
        let absolute = std::path::absolute(&self.root).context("--root")?;
        let text = |ips: &[IpAddr]| ips.iter().map(IpAddr::to_string).collect();
        Ok(keelson_kubelet::Config {
            node_name: self.name.clone(),
            root: absolute,
            node_ips: text(&self.node_ip),
            pod_cidrs: self.pod_cidr.iter().map(IpNet::to_string).collect(),
            cgroup_parent: self.cgroup_parent.clone(),
            cluster_dns: text(&self.cluster_dns),
            cluster_domain: self.cluster_domain.clone(),
            api_port: self.api_port,
            pods_max: self.max_pods,
        })
    }
}
