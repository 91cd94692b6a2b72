//! The local cluster of `cargo xtask up`: its nodes, acting as one of their processes, killing and bringing back.

use crate::{
    eventually,
    kubectl::{Answer, run},
    stream::Stream,
};
use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// What of the cluster does not outlive a boot.
pub(crate) const RUN: &str = "/run/keelson";

const NO_CLUSTER: &str = "these tests drive a running cluster of three nodes. Get one and run them:\n  \
    cargo xtask test --tier e2e\nor, to keep it:\n  cargo xtask up --nodes 3 --dev --node-grace 20 --toleration 5\n  \
    export KUBECONFIG=$PWD/target/cluster/kubeconfig\n  cargo nextest run --workspace --tests -E 'package(keelson-tests)'";

/// The file that KUBECONFIG names.
pub fn kubeconfig() -> Result<PathBuf> {
    let file = std::env::var_os("KUBECONFIG").map(PathBuf::from);
    let file = file.with_context(|| format!("KUBECONFIG is not set: {NO_CLUSTER}"))?;
    ensure!(file.is_file(), "KUBECONFIG names {}, which is no file: {NO_CLUSTER}", file.display());
    Ok(file)
}

/// The file in which `up` remembers what it was asked for.
#[derive(serde::Deserialize)]
struct Spec {
    checkout: PathBuf,
    nodes: u8,
    store: String,
    separate: bool,
    ip_family: String,
    segments: u8,
    tunnel: String,
    profile: String,
    bin_dir: Option<PathBuf>,
    node_grace_s: Option<u32>,
    toleration_s: Option<u32>,
}

/// The cluster that is up on this machine.
pub struct Cluster {
    spec: Spec,
}

/// A killed daemon or node is to be back within this.
const UP_MAX: Duration = Duration::from_secs(120);

impl Cluster {
    /// The cluster, or an error that says how to get one.
    pub fn require() -> Result<Cluster> {
        let cluster = Cluster::require_any()?;
        let nodes = cluster.spec.nodes;
        ensure!(nodes >= 3, "a cluster of {nodes} node(s) is up: {NO_CLUSTER}");
        Ok(cluster)
    }

    /// The cluster, of however many nodes.
    pub fn require_any() -> Result<Cluster> {
        kubeconfig()?;
        let text = fs::read(Path::new(RUN).join("cluster.json"))
            .with_context(|| format!("no cluster is up: {NO_CLUSTER}"))?;
        Ok(Cluster { spec: serde_json::from_slice(&text).context("reading cluster.json")? })
    }

    /// Whether each node is a network namespace and a cgroup of its own; alone, a node is the machine.
    pub fn is_split(&self) -> bool {
        self.spec.nodes > 1
    }

    /// The cluster, if controllers and scheduler are processes of their own; else an error that says how to get such a one.
    pub fn require_separate() -> Result<Cluster> {
        let cluster = Cluster::require()?;
        ensure!(
            cluster.spec.separate,
            "the components of this cluster share a process; `cargo xtask test --tier e2e -- separate::` makes one \
             in which they do not, and so does `cargo xtask up --nodes 3 --dev --separate`"
        );
        Ok(cluster)
    }

    /// The cluster, if packets to and from its last node are wrapped, as it is behind a router or all are; else an error that says how
    /// to get such a one.
    pub fn require_wrapped() -> Result<Cluster> {
        let cluster = Cluster::require()?;
        ensure!(
            cluster.spec.segments == 2 || cluster.always_wraps(),
            "all nodes of this cluster are adjacent; `cargo xtask test --tier e2e -- segments::` makes some in which the last \
             is not, and so does `cargo xtask up --nodes 3 --dev --segments 2`, or `--tunnel always`"
        );
        Ok(cluster)
    }

    /// Whether packets between adjacent nodes are wrapped, too.
    pub fn always_wraps(&self) -> bool {
        self.spec.tunnel == "always"
    }

    /// Everything of the cluster that lasts: kubeconfigs, nodes' roots, logs.
    pub fn folder(&self) -> PathBuf {
        self.spec.checkout.join("target/cluster")
    }

    /// Which IP families it has: `ipv4`, `ipv6` or `dual`.
    pub fn ip_family(&self) -> &str {
        &self.spec.ip_family
    }

    /// n1, n2, ...
    pub fn nodes(&self) -> Vec<String> {
        (1..=self.spec.nodes).map(|number| format!("n{number}")).collect()
    }

    /// The address of a node on the cluster's wire.
    pub fn node_address(&self, node: &str) -> Result<String> {
        let object = crate::api::get(&format!("/api/v1/nodes/{node}"))?;
        let addresses = object["status"]["addresses"].as_array();
        let internal = addresses.into_iter().flatten().find(|address| address["type"] == "InternalIP");
        let address = internal.and_then(|address| address["address"].as_str());
        Ok(address.with_context(|| format!("node {node} has no InternalIP"))?.to_string())
    }

    /// The same of IPv6, in a cluster that has it.
    pub fn node_address6(&self, node: &str) -> Result<String> {
        let object = crate::api::get(&format!("/api/v1/nodes/{node}"))?;
        let addresses = object["status"]["addresses"].as_array();
        let internal = addresses.into_iter().flatten().filter(|address| address["type"] == "InternalIP");
        let address = internal.filter_map(|address| address["address"].as_str()).find(|ip| ip.contains(':'));
        Ok(address.with_context(|| format!("node {node} has no InternalIP of IPv6"))?.to_string())
    }

    /// A command, not yet started, that counts as a process of a node: by its network namespace and its cgroup.
    pub fn within(&self, node: &str) -> Result<Command> {
        let mut command = Command::new(xtask()?);
        command.args(["enter", node, "--"]);
        Ok(command)
    }

    /// Runs a command on a node, which has to succeed; answers what it printed.
    pub fn enter(&self, node: &str, words: &[&str]) -> Result<String> {
        let mut command = self.within(node)?;
        command.args(words);
        let Answer { stdout, stderr, code } = run(command, None)?;
        ensure!(code == Some(0), "`{}` on {node} ended with {code:?}:\n{stdout}{stderr}", words.join(" "));
        Ok(stdout)
    }

    /// Where a node's network is.
    pub fn netns(&self, node: &str) -> Result<String> {
        Ok(format!("/proc/{}/ns/net", self.daemon(node, "node")?))
    }

    /// One more DNS server on a node, beside the cluster's own, until this value goes. `args`: its flags but the kubeconfig.
    pub fn dns_server(&self, node: &str, args: &[&str]) -> Result<Stream> {
        let kubeconfig = self.spec.checkout.join("target/cluster/nodes").join(node).join("kubeconfig");
        let mut command = self.within(node)?;
        // What it says goes to its error output, which a stream does not read.
        command.args(["sh", "-c", "exec \"$@\" 2>&1", "sh"]);
        command.arg(sibling("keelson-node", "keelson-node")?).args(["dns", "--kubeconfig"]);
        command.arg(kubeconfig).args(args);
        if !args.contains(&"--metrics") {
            command.args(["--metrics", "none"]);
        }
        let mut server = Stream::start(command)?;
        server.line(Duration::from_secs(10), |line| line.contains("cluster DNS answers"))?;
        Ok(server)
    }

    /// `cargo xtask up` as it was called: starts again whatever is dead, and waits until all nodes are Ready.
    pub fn up(&self) -> Result<()> {
        let Answer { stdout, stderr, code } = run(self.up_command()?, None)?;
        ensure!(code == Some(0), "`xtask up` ended with {code:?}:\n{stdout}{stderr}");
        Ok(())
    }

    fn up_command(&self) -> Result<Command> {
        let mut command = Command::new(xtask()?);
        command.current_dir(&self.spec.checkout).arg("up");
        command.args(["--nodes", &self.spec.nodes.to_string(), "--store", &self.spec.store]);
        command.args(["--ip-family", &self.spec.ip_family, "--tunnel", &self.spec.tunnel]);
        command.args(["--segments", &self.spec.segments.to_string()]);
        if self.spec.separate {
            command.arg("--separate");
        }
        if self.spec.profile == "dev" {
            command.arg("--dev");
        }
        if let Some(folder) = &self.spec.bin_dir {
            command.arg("--bin-dir").arg(folder);
        }
        if let Some(seconds) = self.spec.node_grace_s {
            command.args(["--node-grace", &seconds.to_string()]);
        }
        if let Some(seconds) = self.spec.toleration_s {
            command.args(["--toleration", &seconds.to_string()]);
        }
        // What the runner of the tests set for them would make cargo build everything anew.
        for (name, _) in std::env::vars().filter(|(name, _)| is_of_the_runner(name)) {
            command.env_remove(name);
        }
        Ok(command)
    }

    /// SIGKILL to everything that runs on a node, as when its power goes.
    pub fn kill_node(&self, node: &str) -> Result<()> {
        let cgroup = cgroup(node)?;
        fs::write(cgroup.join("cgroup.kill"), "1")
            .with_context(|| format!("killing {}", cgroup.display()))?;
        eventually(Duration::from_secs(20), &format!("every process of {node} is gone"), || {
            let events = fs::read_to_string(cgroup.join("cgroup.events"))?;
            ensure!(events.lines().any(|line| line == "populated 0"), "cgroup.events says {events}");
            Ok(())
        })
    }

    /// The pid of one of a node's daemons: `node`, `dns`, `containerd`.
    pub fn daemon(&self, node: &str, daemon: &str) -> Result<Pid> {
        self.process(&format!("{node}-{daemon}"))
    }

    /// The pid of a process that `up` keeps, by the name of its log: `keelson`, `keelson-scheduler`, `n1-dns`.
    pub fn process(&self, name: &str) -> Result<Pid> {
        let file = Path::new(RUN).join(format!("{name}.pid"));
        let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        // The second word is its start time, by which `xtask` tells it from a later process with this pid.
        let pid = text.split(' ').next().and_then(|word| word.parse().ok());
        Ok(Pid::from_raw(pid.with_context(|| format!("{} holds no pid: {text}", file.display()))?))
    }

    /// SIGKILL to one of a node's daemons; answers its pid when it is dead.
    pub fn kill_daemon(&self, node: &str, daemon: &str) -> Result<Pid> {
        self.kill(&format!("{node}-{daemon}"))
    }

    /// SIGKILL to a process that `up` keeps; answers its pid when it is dead.
    pub fn kill(&self, name: &str) -> Result<Pid> {
        let pid = self.process(name)?;
        kill(pid, Signal::SIGKILL).with_context(|| format!("killing {name}"))?;
        eventually(Duration::from_secs(10), &format!("{name} is dead"), || {
            ensure!(!is_alive(pid), "it lives");
            Ok(pid)
        })
    }

    /// Starts `up` in the background and answers when the killed daemon has a successor, with the rest of `up` to wait for.
    pub fn bring_back(&self, node: &str, daemon: &str, killed: Pid) -> Result<std::process::Child> {
        let mut up = self.up_command()?.spawn().context("starting xtask up")?;
        eventually(UP_MAX, &format!("{node} has a new {daemon} daemon"), || {
            let pid = self.daemon(node, daemon)?;
            ensure!(pid != killed && is_alive(pid), "its pid is {pid}");
            Ok(())
        })
        .inspect_err(|_| drop(up.kill()))?;
        Ok(up)
    }

    /// Processes of a pod on a node: pid and name, without the sandbox's own.
    pub fn pod_processes(&self, node: &str, uid: &str) -> Result<Vec<(Pid, String)>> {
        let mut found = Vec::new();
        processes(&cgroup(node)?, uid, false, &mut found)?;
        Ok(found)
    }
}

/// This process in a node's cgroup: sockets that it makes are under the node's programs, whatever namespace they are in. Undone
/// when it goes.
pub struct Inside {
    home: PathBuf,
}

impl Inside {
    /// Goes there.
    pub fn enter(cluster: &Cluster, node: &str) -> Result<Inside> {
        let groups = fs::read_to_string("/proc/self/cgroup").context("reading /proc/self/cgroup")?;
        let own = groups.lines().find_map(|line| line.strip_prefix("0::")).context("not in a v2 cgroup")?;
        let home = cgroup2()?.join(own.trim_start_matches('/'));
        if cluster.is_split() {
            // A folder of its own, as those have that `enter` runs: the node's own has processes in its children alone.
            let folder = cgroup(node)?.join("enter");
            fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
            join(&folder)?;
        }
        Ok(Inside { home })
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if let Err(error) = join(&self.home) {
            eprintln!("this process stays in a node's cgroup: {error:#}");
        }
    }
}

fn join(folder: &Path) -> Result<()> {
    let file = folder.join("cgroup.procs");
    fs::write(&file, std::process::id().to_string()).with_context(|| format!("writing {}", file.display()))
}

/// Next to this test's own program, where cargo puts all of them.
pub fn sibling(program: &str, package: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let file = own.ancestors().skip(1).map(|folder| folder.join(program)).find(|file| file.is_file());
    file.with_context(|| format!("{program} is not built: run `cargo build --package {package}`"))
}

fn xtask() -> Result<PathBuf> {
    sibling("xtask", "xtask")
}

fn is_of_the_runner(name: &str) -> bool {
    let kept = ["CARGO", "CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_BUILD_JOBS"];
    name == "LD_LIBRARY_PATH"
        || (["CARGO", "NEXTEST", "__NEXTEST"].iter().any(|p| name.starts_with(p)) && !kept.contains(&name))
}

/// A zombie is dead: whoever started it has not asked yet.
fn is_alive(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Where the cgroup2 hierarchy is mounted.
fn cgroup2() -> Result<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").context("reading /proc/self/mountinfo")?;
    // Fields: id parent dev root mount-point options... - type source options (proc_pid_mountinfo(5)).
    let mount = text.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        right.starts_with("cgroup2 ").then(|| left.split(' ').nth(4))?
    });
    Ok(mount.context("no cgroup2 file system is mounted")?.into())
}

/// A node's subtree in it.
fn cgroup(node: &str) -> Result<PathBuf> {
    let folder = cgroup2()?.join("keelson").join(node);
    if !folder.is_dir() {
        bail!("{} is not there; is the cluster up?", folder.display());
    }
    Ok(folder)
}

/// Walks a cgroup subtree; below a folder that names the pod every process is the pod's. What goes meanwhile was another's, or is
/// over.
fn processes(folder: &Path, uid: &str, inside: bool, found: &mut Vec<(Pid, String)>) -> Result<()> {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let inside = inside || name.contains(uid) || name.contains(&uid.replace('-', "_"));
    if inside {
        for pid in gone_is_empty(fs::read_to_string(folder.join("cgroup.procs")))?.lines() {
            // It may end while we look.
            let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            if !comm.is_empty() && comm.trim() != "pause" {
                found.push((Pid::from_raw(pid.parse()?), comm.trim().to_string()));
            }
        }
    }
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    for entry in gone_is_empty(entries)? {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            processes(&entry.path(), uid, inside, found)?;
        }
    }
    Ok(())
}

/// cgroupfs says ENODEV for a file of a folder that was removed after it was opened.
fn gone_is_empty<T: Default>(read: io::Result<T>) -> io::Result<T> {
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        Err(error) if error.raw_os_error() == Some(nix::libc::ENODEV) => Ok(T::default()),
        other => other,
    }
}
