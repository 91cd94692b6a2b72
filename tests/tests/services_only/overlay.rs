//! Backends on another node, to which the pods' network, which is none of ours, leads by a VXLAN device of its own (as flannel's, Calico's
//! and others' do): packets from outside take that device, and so do the answers.

use anyhow::{Context, Result, ensure};
use keelson_tests::{
    Cluster, Namespace, PATIENCE,
    cluster::sibling,
    eventually,
    outside::{OUTSIDE_IP, OUTSIDE_IP6, Outside, within},
    stream::Stream,
};
use serde_json::{Value, json};
use std::{fs, time::Duration};

use super::{ADDRESS, Host, NAME, Rights, ip, serve};
use crate::outside::{at, node_port};

const FAR: &str = "keelson-alone-far";
const FAR_POD: &str = "keelson-alone-fpod";
const FAR_ADDRESS: &str = "172.30.0.251";
const PORT: u16 = 8080;
/// The device, on both nodes.
const DEVICE: &str = "flannel.1";
/// Hardware addresses there, of the host and of the far node.
const MACS: [&str; 2] = ["02:98:00:00:00:01", "02:98:00:00:00:02"];

/// The addresses of a family.
struct Plan {
    /// The client's, and the host's on the nodes' wire with its prefix.
    outside: &'static str,
    host: &'static str,
    prefix: u8,
    /// In the device: of the host and of the far node.
    inside: [&'static str; 2],
    /// What leads to the far node's pods, and one of them.
    range: &'static str,
    pod: &'static str,
    gateway: &'static str,
    slice: &'static str,
}

const V4: Plan = Plan {
    outside: OUTSIDE_IP,
    host: ADDRESS,
    prefix: 24,
    inside: ["10.98.1.0", "10.98.2.0"],
    range: "10.98.2.0/24",
    pod: "10.98.2.5",
    gateway: "10.98.2.1",
    slice: "IPv4",
};
const V6: Plan = Plan {
    outside: OUTSIDE_IP6,
    host: "fd00:172:30::fa",
    prefix: 64,
    inside: ["fd00:98:1::", "fd00:98:2::"],
    range: "fd00:98:2::/64",
    pod: "fd00:98:2::5",
    gateway: "fd00:98:2::1",
    slice: "IPv6",
};

/// A node with a pod, on the nodes' wire; gone with the value.
struct Far;

impl Drop for Far {
    fn drop(&mut self) {
        let _ = ip(&format!("netns delete {FAR_POD}"));
        let _ = ip("-n keelson-net link delete far");
        let _ = ip(&format!("netns delete {FAR}"));
    }
}

impl Far {
    fn plug_in(plans: &[&Plan]) -> Result<Far> {
        // What a killed run left.
        drop(Far);
        ip(&format!("netns add {FAR}"))?;
        let far = Far;
        ip(&format!("-n keelson-net link add far type veth peer name eth0 netns {FAR}"))?;
        ip("-n keelson-net link set far master bridge up")?;
        ip(&format!("-n {FAR} address add {FAR_ADDRESS}/24 dev eth0"))?;
        ip(&format!("-n {FAR} link set eth0 up"))?;
        ip(&format!("netns add {FAR_POD}"))?;
        ip(&format!("-n {FAR} link add pod type veth peer name eth0 netns {FAR_POD}"))?;
        ip(&format!("-n {FAR} link set pod up"))?;
        // As long as what the device takes.
        ip(&format!("-n {FAR_POD} link set eth0 mtu 1450 up"))?;
        for plan in plans {
            let (nodad, family) = if plan.slice == "IPv6" { (" nodad", "-6") } else { ("", "-4") };
            ip(&format!("-n {FAR} address add {}/{} dev pod{nodad}", plan.gateway, plan.prefix))?;
            ip(&format!("-n {FAR_POD} address add {}/{} dev eth0{nodad}", plan.pod, plan.prefix))?;
            ip(&format!("-n {FAR_POD} {family} route add default via {}", plan.gateway))?;
        }
        connect(FAR, [FAR_ADDRESS, ADDRESS], [MACS[1], MACS[0]])?;
        for plan in plans {
            lead(
                FAR,
                [plan.inside[1], plan.inside[0]],
                &format!("{}/{}", plan.inside[0], bits(plan)),
                MACS[0],
            )?;
            serve(FAR_POD, at(plan.pod, PORT)?)?;
        }
        forward(FAR)?;
        Ok(far)
    }
}

/// Of a host's own prefix.
fn bits(plan: &Plan) -> u8 {
    if plan.slice == "IPv6" { 128 } else { 32 }
}

/// The device of one of two nodes.
fn connect(netns: &str, [local, remote]: [&str; 2], [mac, other]: [&str; 2]) -> Result<()> {
    ip(&format!(
        "-n {netns} link add {DEVICE} address {mac} type vxlan id 7 dstport 4790 local {local} nolearning dev eth0"
    ))?;
    ip(&format!("-n {netns} link set {DEVICE} mtu 1450 up"))?;
    let mut bridge = std::process::Command::new("bridge");
    bridge.args(["-n", netns, "fdb", "replace", other, "dev", DEVICE, "dst", remote]);
    let answer = keelson_tests::kubectl::run(bridge, None)?;
    ensure!(answer.code == Some(0), "bridge fdb: {}", answer.stderr);
    Ok(())
}

/// A node's own address in the device, and the way to the other's pods.
fn lead(netns: &str, [own, next]: [&str; 2], range: &str, mac: &str) -> Result<()> {
    let (bits, nodad) = if own.contains(':') { (128, " nodad") } else { (32, "") };
    ip(&format!("-n {netns} address add {own}/{bits} dev {DEVICE}{nodad}"))?;
    ip(&format!("-n {netns} neighbour replace {next} lladdr {mac} dev {DEVICE}"))?;
    // The next hop is of no prefix of the device.
    ip(&format!("-n {netns} route replace {next}/{bits} dev {DEVICE}"))?;
    if range != format!("{next}/{bits}") {
        ip(&format!("-n {netns} route replace {range} via {next} dev {DEVICE} onlink"))?;
    }
    Ok(())
}

fn forward(netns: &str) -> Result<()> {
    within(&format!("/run/netns/{netns}"), || {
        fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
        Ok(fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1")?)
    })
}

fn slice(plan: &Plan) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": plan.slice,
        "metadata": {
            "name": format!("far-{}", plan.slice.to_lowercase()), "labels": { "kubernetes.io/service-name": "far" },
        },
        "ports": [{ "name": "", "port": PORT }],
        "endpoints": [{ "addresses": [plan.pod], "nodeName": FAR, "conditions": { "ready": true } }],
    })
}

#[test]
fn backends_behind_the_device_of_the_pods_network_are_reached_by_it_and_answer_by_it() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("alone")?);
    let (outside, folder) = (Outside::new(&cluster)?, tempfile::tempdir()?);
    let plans: &[&Plan] = match cluster.ip_family() {
        "dual" => &[&V4, &V6],
        "ipv4" => &[&V4],
        other => {
            println!("skipped: the nodes' wire is of {other} alone, the tunnel of this test of IPv4");
            return Ok(());
        }
    };
    let host = Host::new(&cluster)?;
    host.meet_outside()?;
    if plans.len() == 2 {
        ip(&format!("-n {NAME} address add {}/{} dev eth0 nodad", V6.host, V6.prefix))?;
        ip(&format!("-n {NAME} route add {} dev eth0", V6.outside))?;
    }
    let _far = Far::plug_in(plans)?;
    let mut objects = vec![json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "far" },
        "spec": { "type": "NodePort", "ipFamilyPolicy": "PreferDualStack", "ports": [{ "port": 80 }] },
    })];
    objects.extend(plans.iter().map(|plan| slice(plan)));
    namespace.apply_all(&objects)?;
    let port = node_port(&namespace.get("services/far")?)?;

    let (_rights, credentials) = Rights::grant(&namespace, folder.path())?;
    let node = sibling("keelson-node", "keelson-node")?;
    let credentials = credentials.to_str().context("a path in UTF-8")?;
    let cgroup = host.cgroup.to_str().context("a path in UTF-8")?;
    let addresses: Vec<&str> = plans.iter().map(|plan| plan.host).collect();
    let addresses = addresses.join(",");
    let flags = ["--services-only", "--name", NAME, "--kubeconfig", credentials, "--node-ip", &addresses];
    let more = ["--pod-cidr", "10.98.1.0/24", "--cgroup-root", cgroup, "--uplink", "eth0"];
    let daemon = || -> Result<Stream> {
        let mut daemon = Stream::start(host.command(&node, &[&flags[..], &more[..]].concat()))?;
        daemon.line(Duration::from_secs(20), |line| line.contains("Services are in the kernel"))?;
        Ok(daemon)
    };
    let first = daemon()?;
    // The network comes after the daemon, and when it is made anew, its device has another index.
    for again in [false, true] {
        if again {
            ip(&format!("-n {NAME} link delete {DEVICE}"))?;
        }
        connect(NAME, [ADDRESS, FAR_ADDRESS], MACS)?;
        for plan in plans {
            lead(NAME, plan.inside, plan.range, MACS[1])?;
        }
        forward(NAME)?;
        for plan in plans {
            let server = at(plan.host, port)?;
            // A connection from before the device or its address was found stays as it began.
            eventually(PATIENCE, &format!("{server} leads to the far pod by the device"), || {
                let seen = outside.get(server)?;
                ensure!(seen == plan.inside[0], "the pod sees {seen}, not the host's address in the device");
                Ok(())
            })?;
        }
    }
    let all_reached = || plans.iter().try_for_each(|plan| outside.get(at(plan.host, port)?).map(drop));
    // What is in the kernel outlives the daemon, and the next one adopts it.
    drop(first);
    all_reached().context("while no daemon ran")?;
    let _second = daemon()?;
    eventually(PATIENCE, "all is reached again", all_reached)
}
