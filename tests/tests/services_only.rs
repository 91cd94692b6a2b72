//! The data plane alone, in kube-proxy's place: on a host that no kubelet runs on, with the rights of `system:node-proxier`.

mod overlay;

use anyhow::{Context, Result, ensure};
use keelson_tests::{
    Cluster, Namespace,
    cluster::sibling,
    count::Count,
    eventually,
    kubectl::{Answer, kubectl, run},
    outside::{OUTSIDE_IP, Outside, within},
    stream::Stream,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use crate::{
    outside::{at, node_port},
    services::{PROGRAMMED_MAX, web},
};

/// A host on the nodes' wire with a network namespace and a cgroup of its own; gone with the value.
struct Host {
    cgroup: PathBuf,
}

const NAME: &str = "keelson-alone";
const ADDRESS: &str = "172.30.0.250";

impl Host {
    fn new(cluster: &Cluster) -> Result<Self> {
        let host = Self { cgroup: cgroup2()?.join(NAME) };
        // What a killed run left.
        host.remove();
        fs::create_dir(&host.cgroup)?;
        ip(&format!("netns add {NAME}"))?;
        ip(&format!("-n {NAME} link set lo up"))?;
        ip(&format!("-n keelson-net link add alone type veth peer name eth0 netns {NAME}"))?;
        ip("-n keelson-net link set alone master bridge up")?;
        ip(&format!("-n {NAME} address add {ADDRESS}/24 dev eth0"))?;
        ip(&format!("-n {NAME} link set eth0 up"))?;
        for node in cluster.nodes() {
            let object: Value = serde_json::from_str(&kubectl(&format!("get node {node} -o json"))?)?;
            let range = object["spec"]["podCIDR"].as_str().context("a node with a range of pods")?;
            ip(&format!("-n {NAME} route add {range} via {}", cluster.node_address(&node)?))?;
        }
        Ok(host)
    }

    /// A pod of the host's own, by a network that is none of ours; gone with the value. It answers whose connection it is.
    fn plug_in_pod(&self) -> Result<Pod> {
        // What a killed run left.
        drop(Pod);
        ip(&format!("netns add {POD_NAME}"))?;
        let pod = Pod;
        ip(&format!("-n {NAME} link add pod type veth peer name eth0 netns {POD_NAME}"))?;
        ip(&format!("-n {NAME} address add 10.99.0.1/24 dev pod"))?;
        ip(&format!("-n {NAME} link set pod up"))?;
        ip(&format!("-n {POD_NAME} address add {POD_ADDRESS}/24 dev eth0"))?;
        ip(&format!("-n {POD_NAME} link set eth0 up"))?;
        ip(&format!("-n {POD_NAME} route add default via 10.99.0.1"))?;
        serve(POD_NAME, at(POD_ADDRESS, POD_PORT)?)?;
        Ok(pod)
    }

    /// The world finds the host, and it sends on what is not for itself, as hosts of pods do.
    fn meet_outside(&self) -> Result<()> {
        ip(&format!("-n {NAME} route add {OUTSIDE_IP} dev eth0"))?;
        within(&format!("/run/netns/{NAME}"), || Ok(fs::write("/proc/sys/net/ipv4/ip_forward", "1")?))
    }

    /// A command that counts as the host's.
    fn command(&self, program: &Path, words: &[&str]) -> Command {
        let mut command = Command::new("sh");
        let join = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.cgroup.display());
        command.args(["-c", &join, "sh", "nsenter", &format!("--net=/run/netns/{NAME}")]);
        command.arg(program).args(words);
        command
    }

    fn connect(&self, target: &str, number: u32) -> Result<Count> {
        let load = sibling("keelson-load", "keelson-tests")?;
        let answer = run(self.command(&load, &["http", target, &number.to_string()]), None)?;
        serde_json::from_str(&answer.stdout).with_context(|| format!("{}{}", answer.stdout, answer.stderr))
    }

    fn remove(&self) {
        let cleanup =
            |node: &Path| run(self.command(node, &["--services-only", "--name", NAME, "--cleanup"]), None);
        let _ = sibling("keelson-node", "keelson-node").map(|node| cleanup(&node));
        let _ = ip("-n keelson-net link delete alone");
        let _ = ip(&format!("netns delete {NAME}"));
        let _ = fs::remove_dir(&self.cgroup);
    }
}

/// A server in a network namespace, that answers whose connection it is.
fn serve(netns: &str, at: SocketAddr) -> Result<()> {
    let listener = within(&format!("/run/netns/{netns}"), move || Ok(TcpListener::bind(at)?))?;
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let who = client.peer_addr().map_or_else(|e| e.to_string(), |peer| peer.ip().to_string());
            // What is not read makes the end a reset. A client that is gone hears nothing.
            let _ = client.read(&mut [0; 1024]);
            let _ = client.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{who}\n").as_bytes());
        }
    });
    Ok(())
}

struct Pod;

const POD_NAME: &str = "keelson-alone-pod";
const POD_ADDRESS: &str = "10.99.0.5";
const POD_PORT: u16 = 8080;

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = ip(&format!("netns delete {POD_NAME}"));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.remove();
    }
}

fn ip(words: &str) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(words.split(' '));
    let Answer { stderr, code, .. } = run(command, None)?;
    ensure!(code == Some(0), "`ip {words}` ended with {code:?}: {stderr}");
    Ok(())
}

fn cgroup2() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mut lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let line = lines.find(|words| words.get(2) == Some(&"cgroup2")).context("no cgroup2 mount")?;
    Ok(line[1].into())
}

/// What kube-proxy may, for a service account; taken back with the value.
struct Rights(String);

impl Rights {
    /// And a kubeconfig of that account.
    fn grant(namespace: &Namespace, folder: &Path) -> Result<(Self, PathBuf)> {
        namespace.kubectl("create serviceaccount proxy")?;
        let name = &namespace.name;
        kubectl(&format!(
            "create clusterrolebinding {name} --clusterrole=system:node-proxier --serviceaccount={name}:proxy"
        ))?;
        let rights = Self(name.clone());
        let token = namespace.kubectl("create token proxy")?;
        let mut config: Value = serde_json::from_str(&kubectl("config view --raw -o json")?)?;
        let user = config["contexts"][0]["context"]["user"].clone();
        config["users"] = json!([{ "name": user, "user": { "token": token.trim() } }]);
        let file = folder.join("kubeconfig");
        fs::write(&file, config.to_string())?;
        Ok((rights, file))
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        let _ = kubectl(&format!("delete clusterrolebinding {}", self.0));
    }
}

#[test]
fn the_data_plane_alone_takes_kube_proxys_place() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("alone")?);
    let (host, folder) = (Host::new(&cluster)?, tempfile::tempdir()?);
    web(&cluster, &namespace, 3)?;
    let (_rights, credentials) = Rights::grant(&namespace, folder.path())?;
    let target = format!("{}:80", namespace.cluster_ip("web")?);
    ensure!(!host.connect(&target, 1)?.failures.is_empty(), "nobody translates here yet");
    let node = sibling("keelson-node", "keelson-node")?;
    let credentials = credentials.to_str().context("a path in UTF-8")?;
    let flags = ["--services-only", "--name", NAME, "--kubeconfig", credentials, "--node-ip", ADDRESS];
    let cgroup = host.cgroup.to_str().context("a path in UTF-8")?.to_string();
    let more = ["--pod-cidr", "10.99.0.0/24", "--cgroup-root", &cgroup];
    let daemon = || -> Result<Stream> {
        let mut daemon = Stream::start(host.command(&node, &[&flags[..], &more[..]].concat()))?;
        daemon.line(Duration::from_secs(20), |line| line.contains("Services are in the kernel"))?;
        Ok(daemon)
    };
    let first = daemon()?;
    eventually(PROGRAMMED_MAX, "the host reaches the Service", || host.connect(&target, 60)?.reached(3))?;
    let metrics = run(host.command(Path::new("curl"), &["-sf", "http://127.0.0.1:10249/metrics"]), None)?;
    ensure!(metrics.stdout.contains("service=\"web\""), "{}", metrics.stdout);
    // What is in the kernel outlives the daemon; the next one catches up.
    drop(first);
    host.connect(&target, 60)?.reached(3)?;
    namespace.kubectl("scale deployment web --replicas=1")?;
    let _second = daemon()?;
    eventually(Duration::from_secs(20), "one endpoint is left", || {
        let count = host.connect(&target, 20)?;
        ensure!(count.failures.is_empty() && count.answers.len() == 1, "{count:?}");
        Ok(())
    })?;
    Ok(())
}

#[test]
fn by_its_uplink_it_answers_the_world_for_its_own_pods_and_those_of_others() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("alone")?);
    let (outside, folder) = (Outside::new(&cluster)?, tempfile::tempdir()?);
    let host = Host::new(&cluster)?;
    host.meet_outside()?;
    let _pod = host.plug_in_pod()?;
    web(&cluster, &namespace, 3)?;
    namespace.kubectl(&["patch", "service", "web", "-p", r#"{"spec": {"type": "NodePort"}}"#])?;
    namespace.apply_all(&[
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "own" },
            "spec": { "type": "NodePort", "ports": [{ "port": 80 }] },
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": { "name": "own-1", "labels": { "kubernetes.io/service-name": "own" } },
            "ports": [{ "name": "", "port": POD_PORT }],
            "endpoints": [{ "addresses": [POD_ADDRESS], "nodeName": NAME, "conditions": { "ready": true } }],
        }),
    ])?;
    let at_port = |service: &str| at(ADDRESS, node_port(&namespace.get(&format!("services/{service}"))?)?);
    let (others, own) = (at_port("web")?, at_port("own")?);
    ensure!(outside.get(others).is_err() && outside.get(own).is_err(), "nobody translates here yet");

    let (_rights, credentials) = Rights::grant(&namespace, folder.path())?;
    let node = sibling("keelson-node", "keelson-node")?;
    let credentials = credentials.to_str().context("a path in UTF-8")?;
    let cgroup = host.cgroup.to_str().context("a path in UTF-8")?;
    let flags = ["--services-only", "--name", NAME, "--kubeconfig", credentials, "--node-ip", ADDRESS];
    let more = ["--pod-cidr", "10.99.0.0/24", "--cgroup-root", cgroup, "--uplink", "eth0"];
    let mut daemon = Stream::start(host.command(&node, &[&flags[..], &more[..]].concat()))?;
    daemon.line(Duration::from_secs(20), |line| line.contains("Services are in the kernel"))?;
    eventually(PROGRAMMED_MAX, "pods of all nodes answer", || {
        let names: BTreeSet<_> = (0..30).map(|_| outside.get(others)).collect::<Result<_>>()?;
        ensure!(names.len() == 3, "{names:?}");
        Ok(())
    })?;
    ensure!(outside.get(own)? == OUTSIDE_IP, "a pod of the host itself sees the client");
    // What is in the kernel outlives the daemon.
    drop(daemon);
    outside.get(others)?;
    ensure!(outside.get(own)? == OUTSIDE_IP);
    Ok(())
}
