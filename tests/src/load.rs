//! Constant load of new connections, from a pod and from a node, and a known number of them.

use crate::{
    Cluster, Namespace, cluster::sibling, count::Count, eventually, kubectl::run, manifest, stream::Stream,
    wait::PATIENCE,
};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{io::Write, net::SocketAddr, process::Command, time::Duration};
use tempfile::NamedTempFile;

/// Pause between two connections of constant load: two cores also run the cluster.
const PAUSE_US: u32 = 5_000;

/// `number` requests by wget in a running pod, each over a new connection. (`timeout`, because `wget -T` crashes in Debian's
/// static busybox 1.35.)
pub fn from_pod(namespace: &Namespace, pod: &str, url: &str, number: u32) -> Result<Count> {
    let script = format!(
        "i=0; while [ $i -lt {number} ]; do timeout 5 wget -q -O - {url} 2>&1 || echo failed; i=$((i+1)); done | sort | uniq -c"
    );
    Count::parse(&namespace.shell(pod, &script)?)
}

/// Requests by wget in a pod, one after another, until told to stop.
pub struct PodLoad<'a> {
    namespace: &'a Namespace,
    pod: String,
}

impl<'a> PodLoad<'a> {
    /// Starts a pod, on `node` if given, and waits until its first request was answered.
    pub fn start(namespace: &'a Namespace, pod: &str, url: &str, node: Option<&str>) -> Result<PodLoad<'a>> {
        let script = format!(
            "n=0; while [ ! -e /tmp/stop ]; do \
             if out=$(timeout 5 wget -q -O - {url} 2>&1); then n=$((n+1)); [ $n -gt 1 ] || echo started; \
             else echo \"failed at $(date +%T): $out\"; fi; usleep {PAUSE_US}; done; echo answered $n"
        );
        let object: Value = manifest::script(pod, &script);
        let object = node.map_or_else(|| object.clone(), |node| manifest::on_node(object.clone(), node));
        namespace.apply_all(&[object])?;
        namespace.ready(pod)?;
        eventually(PATIENCE, &format!("{pod} was answered once"), || {
            let log = namespace.kubectl(&["logs", pod])?;
            ensure!(log.lines().any(|line| line == "started"), "its log: {log}");
            Ok(())
        })?;
        Ok(PodLoad { namespace, pod: pod.to_string() })
    }

    /// Ends it; what failed before its first answer does not count.
    pub fn stop(self) -> Result<Count> {
        self.namespace.kubectl(&["exec", &self.pod, "--", "touch", "/tmp/stop"])?;
        let log = self.namespace.finished(&self.pod)?;
        let mut count = Count::default();
        for line in log.lines().skip_while(|line| *line != "started") {
            if let Some(number) = line.strip_prefix("answered ") {
                count.answers.insert("answered".into(), number.trim().parse()?);
            } else if line.starts_with("failed") {
                count.failures.push(format!("{}: {line}", self.pod));
            }
        }
        Ok(count)
    }
}

/// A resolver's configuration that knows the cluster's DNS, for a process of a node.
fn resolv_conf() -> Result<NamedTempFile> {
    let mut file = NamedTempFile::new()?;
    writeln!(file, "nameserver 10.96.0.10\noptions timeout:1 attempts:2")?;
    Ok(file)
}

/// `keelson-load` as a process of a node, whose names are resolved by the cluster's DNS.
fn on_node(cluster: &Cluster, node: &str, resolver: &NamedTempFile, words: &[&str]) -> Result<Command> {
    let mut command = cluster.within(node)?;
    // The mount is this process' own: the machine's resolver stays as it is.
    command.args(["unshare", "-m", "sh", "-c", "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\""]);
    command.arg(resolver.path()).arg(sibling("keelson-load", "keelson-tests")?).args(words);
    Ok(command)
}

/// `number` connections from a node to `target` (`host:port`).
pub fn from_node(cluster: &Cluster, node: &str, target: &str, number: u32) -> Result<Count> {
    let resolver = resolv_conf()?;
    let answer = run(on_node(cluster, node, &resolver, &["http", target, &number.to_string()])?, None)?;
    let text = answer.stdout;
    serde_json::from_str(&text).with_context(|| format!("keelson-load said: {text}{}", answer.stderr))
}

/// UDP from a node: `number` datagrams to `target`, whose echoes have to come back from that very address.
pub fn udp_from_node(cluster: &Cluster, node: &str, target: &str, number: u32) -> Result<Count> {
    let resolver = resolv_conf()?;
    let answer = run(on_node(cluster, node, &resolver, &["udp", target, &number.to_string()])?, None)?;
    let text = answer.stdout;
    serde_json::from_str(&text).with_context(|| format!("keelson-load said: {text}{}", answer.stderr))
}

/// A UDP server on a node that answers each datagram with its own name, until this value goes.
pub fn udp_server(cluster: &Cluster, node: &str, port: u16) -> Result<Stream> {
    udp_server_at(cluster, node, SocketAddr::new(cluster.node_address(node)?.parse()?, port))
}

/// The same at any address of the node.
pub fn udp_server_at(cluster: &Cluster, node: &str, address: SocketAddr) -> Result<Stream> {
    let resolver = resolv_conf()?;
    let listen = address.to_string();
    let mut server = Stream::start(on_node(cluster, node, &resolver, &["udp-server", &listen, node])?)?;
    server.line(Duration::from_secs(10), |line| line == "listening")?;
    Ok(server)
}

/// A UDP client in a node's cgroup, in the namespace of a process if one is given, else in the node's. Prints `answer NAME`, and
/// `ended KIND` when its server is dead, before it asks for the next.
pub fn udp_hold(cluster: &Cluster, node: &str, namespace_of: Option<i32>, target: &str) -> Result<Stream> {
    let mut command = cluster.within(node)?;
    if let Some(pid) = namespace_of {
        command.args(["nsenter", &format!("--net=/proc/{pid}/ns/net")]);
    }
    command.arg(sibling("keelson-load", "keelson-tests")?).args(["udp-hold", target]);
    Stream::start(command)
}

/// What a process of a node gets that binds an address: `bound`, or the kind of error.
pub fn bind_on_node(cluster: &Cluster, node: &str, protocol: &str, address: &str) -> Result<String> {
    let mut command = cluster.within(node)?;
    command.arg(sibling("keelson-load", "keelson-tests")?).args(["bind", protocol, address]);
    let answer = run(command, None)?;
    ensure!(answer.code == Some(0), "keelson-load said: {}{}", answer.stdout, answer.stderr);
    Ok(answer.stdout.trim().to_string())
}

/// Requests from a node, one after another, until told to stop.
pub struct NodeLoad {
    stream: Stream,
    _resolver: NamedTempFile,
}

impl NodeLoad {
    /// Starts it and waits for its first answer.
    pub fn start(cluster: &Cluster, node: &str, target: &str) -> Result<NodeLoad> {
        let resolver = resolv_conf()?;
        let pause = PAUSE_US.to_string();
        let mut stream = Stream::start(on_node(cluster, node, &resolver, &["constant", target, &pause])?)?;
        stream.line(PATIENCE, |line| line == "started").context("the first request from a node")?;
        Ok(NodeLoad { stream, _resolver: resolver })
    }

    /// Ends it.
    pub fn stop(mut self) -> Result<Count> {
        let lines = self.stream.end(Duration::from_secs(20))?;
        let last = lines.iter().find(|line| line.starts_with('{'));
        Ok(serde_json::from_str(last.with_context(|| format!("keelson-load said: {lines:#?}"))?)?)
    }
}
