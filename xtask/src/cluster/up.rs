//! `up`: from a checkout to a cluster whose nodes are Ready.

use super::{
    Spec, Store, containerd, control_plane,
    daemon::Daemon,
    netfilter, network, node,
    spec::{IpFamily, NODES_MAX, Place, Translation, Tunnel},
};
use crate::{
    build::{self, Profile},
    doctor, images, paths,
    shell::{Progress, cmd, run as run_command},
};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask up\n  cargo xtask up --nodes 3\n  cargo xtask up --nodes 3 --segments 2     the third node behind a router\n  cargo xtask up --store etcd --dev\n  cargo xtask up --separate         API server, controllers and scheduler as three processes, over TLS\n  cargo xtask up --uplink eth0\n  cargo xtask up --bin-dir target/release\nA second `up` is harmless; `up` after a crash recovers."
)]
pub(crate) struct Args {
    /// How many nodes; with one, it is this machine, with several, each is a network namespace
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(NODES_MAX)))]
    pub(crate) nodes: u8,
    /// Where the API server keeps objects
    #[arg(long, value_enum, default_value = "embedded")]
    pub(crate) store: Store,
    /// Run API server, controllers and scheduler as a process each, which speak TLS with kubeconfigs of their own
    #[arg(long)]
    pub(crate) separate: bool,
    /// Addresses of pods, nodes and Services [default: both families, IPv4 alone on a machine without IPv6]
    #[arg(long, value_enum)]
    pub(crate) ip_family: Option<IpFamily>,
    /// On how many networks the nodes are: all but the first have one node each, behind a router
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub(crate) segments: u8,
    /// When packets between nodes go by VXLAN: where they are not adjacent, always or never
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) tunnel: Tunnel,
    /// Where packets from outside to backends on other nodes get the node's address: by XDP (wire), by tc, or as the uplink is; with
    /// several nodes `auto` is tc, for their wires are veths, on whose packets checksums may be missing
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) translation: Translation,
    /// Build without optimisation: quicker to build, slower to run
    #[arg(long)]
    pub(crate) dev: bool,
    /// Take keelson, keelson-node and keelson-cni from this folder and build none of them
    #[arg(long, value_name = "FOLDER")]
    pub(crate) bin_dir: Option<PathBuf>,
    /// Device by which this machine is reached and reaches the world: Services are answered there, and pods get the machine's
    /// address; several nodes have uplinks of their own
    #[arg(long, value_name = "DEVICE", conflicts_with = "nodes")]
    pub(crate) uplink: Option<String>,
    /// Seconds without a heartbeat until a node counts as unreachable [upstream's: 50]
    #[arg(long)]
    pub(crate) node_grace: Option<u32>,
    /// Seconds that pods stay on an unreachable node [upstream's: 300]
    #[arg(long)]
    pub(crate) toleration: Option<u32>,
}

/// Answers how long it took after the build, in seconds.
pub(crate) fn run(args: &Args) -> Result<f64> {
    if !nix::unistd::geteuid().is_root() {
        bail!("`up` makes namespaces, mounts and cgroups: run it as root");
    }
    ensure!(args.segments <= args.nodes, "--segments {}: there are {} node(s)", args.segments, args.nodes);
    let spec = Spec {
        checkout: paths::root(),
        nodes: args.nodes,
        store: args.store,
        separate: args.separate,
        ip_family: args.ip_family.unwrap_or(if network::has_ipv6() {
            IpFamily::Dual
        } else {
            IpFamily::Ipv4
        }),
        profile: if args.dev { Profile::Dev } else { Profile::Release },
        segments: args.segments,
        tunnel: args.tunnel,
        translation: args.translation,
        bin_dir: args.bin_dir.as_deref().map(binaries_in).transpose()?,
        uplink: args.uplink.clone(),
        node_grace_s: args.node_grace,
        toleration_s: args.toleration,
    };
    let progress = Progress::start();
    doctor::ensure(if spec.store == Store::Etcd { doctor::For::Etcd } else { doctor::For::Up })?;
    spec.claim()?;
    netfilter::remember()?;
    progress.step("building the eBPF programs");
    build::ebpf()?;
    let bin = match &spec.bin_dir {
        Some(folder) => folder.clone(),
        None => {
            progress.step("building the binaries");
            build::binaries(spec.profile, &BINARIES)?
        }
    };
    let archives = images::ensure(images::to_make(spec.nodes == 1), false)?;
    start(&spec, &bin, &archives)
}

/// What a cluster runs; each is the package of its name.
pub(crate) const BINARIES: [&str; 4] = ["keelson", "keelson-node", "keelson-cni", "kubectl-keelson"];

/// The folder's full path, if all binaries are in it: daemons are started with another working directory.
fn binaries_in(folder: &Path) -> Result<PathBuf> {
    let folder = folder.canonicalize().with_context(|| format!("--bin-dir {}", folder.display()))?;
    for binary in BINARIES {
        ensure!(folder.join(binary).is_file(), "--bin-dir {}: there is no {binary} in it", folder.display());
    }
    Ok(folder)
}

fn start(spec: &Spec, bin: &Path, archives: &[PathBuf]) -> Result<f64> {
    let progress = Progress::start();
    progress.step(format!("starting {} node(s)", spec.nodes));
    mount_bpffs()?;
    network::ensure(spec)?;
    let places: Vec<Place> = (1..=spec.nodes).map(|number| Place::of(spec, number)).collect();
    // containerd takes longest to start, and needs nobody: all of them first, at once.
    let containerds = places.iter().map(start_containerd).collect::<Result<Vec<_>>>()?;
    control_plane::init(spec, bin)?;
    if let Some(etcd) = control_plane::etcd(spec) {
        etcd.ensure()?;
        control_plane::wait_etcd(spec, &etcd)?;
        progress.step("etcd is up");
    }
    let keelson = control_plane::keelson(spec, bin)?;
    keelson.ensure()?;
    for place in &places {
        node::prepare(spec, bin, place)?;
    }
    control_plane::wait(spec, &keelson)?;
    progress.step("the API server is up");
    for component in control_plane::apart(spec, bin)? {
        component.ensure()?;
    }
    std::thread::scope(|scope| {
        let nodes: Vec<_> = places
            .iter()
            .zip(&containerds)
            .map(|(place, containerd)| {
                scope.spawn(move || start_node(spec, bin, place, containerd, archives))
            })
            .collect();
        nodes.into_iter().try_for_each(|node| node.join().expect("starting a node does not panic"))
    })?;
    control_plane::wait_nodes(spec, bin)?;
    let seconds = progress.seconds();
    eprintln!("up in {seconds:.1} s after the build");
    println!("export KUBECONFIG={}", control_plane::kubeconfig_file().display());
    println!("export PATH=$PATH:{}   # kubectl keelson", install_plugin(bin)?.display());
    Ok(seconds)
}

/// kubectl finds a plugin by its name in $PATH; the folder of the binaries holds too much to be there.
fn install_plugin(bin: &Path) -> Result<PathBuf> {
    const PLUGIN: &str = "kubectl-keelson";
    let folder = paths::target().join("bin");
    std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let link = folder.join(PLUGIN);
    match std::fs::remove_file(&link) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(e).with_context(|| format!("replacing {}", link.display()));
        }
        _ => {}
    }
    std::os::unix::fs::symlink(bin.join(PLUGIN), &link)
        .with_context(|| format!("installing {}", link.display()))?;
    Ok(folder)
}

fn start_containerd(place: &Place) -> Result<Daemon> {
    containerd::configure(place)?;
    let containerd = containerd::daemon(place);
    containerd.ensure()?;
    Ok(containerd)
}

fn start_node(
    spec: &Spec,
    bin: &Path,
    place: &Place,
    containerd: &Daemon,
    archives: &[PathBuf],
) -> Result<()> {
    containerd::wait_and_import(place, containerd, archives)?;
    node::daemon(spec, bin, place)?.ensure()?;
    node::dns(spec, bin, place).ensure()
}

/// Pins need the bpf file system; most distributions mount it, containers of build systems often do not.
pub(crate) fn mount_bpffs() -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").context("reading /proc/self/mounts")?;
    let mounted = mounts.lines().any(|line| line.split(' ').nth(2) == Some("bpf"));
    if mounted { Ok(()) } else { run_command(&mut cmd("mount", ["-t", "bpf", "bpf", node::BPFFS])) }
}
