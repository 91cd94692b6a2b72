//! A node behind a router: its pods are reached through the tunnel, and nothing else changes. Needs `up --segments 2`, in which
//! the last of three nodes is that one, or `--tunnel always`, in which packets between adjacent nodes go by it, too.

use anyhow::{Context, Result, ensure};
use keelson_tests::{Cluster, Namespace, PATIENCE, api, eventually, manifest, outside::within};
use serde_json::{Value, json};
use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use crate::outside::{families, node_port, web};

const LINK: &str = "keelson-vxlan";

/// On each node a server `web-NODE` and a shell `shell-NODE`, all of them Ready.
struct Town {
    cluster: Cluster,
    namespace: Namespace,
    /// Two adjacent ones, and the one behind the router.
    nodes: [String; 3],
}

impl Town {
    fn new(service: &Value) -> Result<Town> {
        let (cluster, namespace) = (Cluster::require_wrapped()?, Namespace::create("segments")?);
        let nodes: [String; 3] =
            cluster.nodes().try_into().map_err(|nodes| anyhow::anyhow!("three nodes, not {nodes:?}"))?;
        let shells: Vec<Value> = nodes
            .iter()
            .map(|node| manifest::on_node(manifest::shell(&format!("shell-{node}")), node))
            .collect();
        namespace.apply_all(&shells)?;
        web(&namespace, &nodes, service)?;
        for node in &nodes {
            namespace.ready(&format!("shell-{node}"))?;
        }
        Ok(Town { cluster, namespace, nodes })
    }

    /// Bytes of an IP packet in the tunnel: what a wire takes, less what is around it.
    fn mtu(&self) -> usize {
        if self.cluster.ip_family() == "ipv6" { 1430 } else { 1450 }
    }

    fn far(&self) -> &str {
        &self.nodes[2]
    }

    fn addresses(&self, pod: &str) -> Result<Vec<IpAddr>> {
        let pod = self.namespace.get(&format!("pods/{pod}"))?;
        let ips = pod["status"]["podIPs"].as_array().context("a pod with addresses")?;
        ips.iter().map(|ip| Ok(ip["ip"].as_str().unwrap_or_default().parse()?)).collect()
    }

    /// What a server tells a pod.
    fn fetched(&self, pod: &str, address: IpAddr) -> Result<String> {
        let said = self.namespace.shell(pod, &format!("timeout 5 wget -q -O - http://{}/", host(address)))?;
        Ok(said.trim().to_string())
    }

    /// The namespace of a pod, as a file.
    fn netns(&self, node: &str, pod: &str) -> Result<String> {
        let pod = self.namespace.get(&format!("pods/{pod}"))?;
        let uid = pod["metadata"]["uid"].as_str().context("a uid")?;
        let processes = self.cluster.pod_processes(node, uid)?;
        let (pid, _) = processes.first().context("a pod with processes")?;
        Ok(format!("/proc/{pid}/ns/net"))
    }

    /// Has both ends of a pod's link take what the nodes' wires take.
    fn lengthen(&self, node: &str, netns: &str) -> Result<()> {
        // Such as `2: eth0@if12: <BROADCAST,...`, and on the node `12: kln0123@if2: <...`.
        let shown = run(netns, "ip -o link show eth0")?;
        let index = shown.split("@if").nth(1).and_then(|rest| rest.split(':').next());
        let index = format!("{}: ", index.context("the other end's index")?);
        let links = self.cluster.enter(node, &["ip", "-o", "link"])?;
        let line = links.lines().find_map(|line| line.strip_prefix(&index)).context("the other end")?;
        let link = line.split('@').next().context("its name")?;
        self.cluster.enter(node, &["ip", "link", "set", link, "mtu", "1500"])?;
        run(netns, "ip link set eth0 mtu 1500").map(drop)
    }
}

/// As a URL has it.
fn host(address: IpAddr) -> String {
    if address.is_ipv6() { format!("[{address}]") } else { address.to_string() }
}

/// The Service `web` of both families, if the cluster has both.
fn both_families() -> Value {
    json!({ "type": "NodePort", "ipFamilyPolicy": "PreferDualStack" })
}

#[test]
fn pods_of_both_sides_of_a_router_reach_each_other_as_themselves() -> Result<()> {
    let town = Town::new(&both_families())?;
    let (near, far) = (&town.nodes[0], town.far());
    for (client, server) in [(near.as_str(), far), (far, near)] {
        let seen_as = town.addresses(&format!("shell-{client}"))?;
        for (address, own) in town.addresses(&format!("web-{server}"))?.into_iter().zip(seen_as) {
            let said = town.fetched(&format!("shell-{client}"), address)?;
            ensure!(said == format!("web-{server} {own}"), "{address} told {client}: {said}");
            let way = town.cluster.enter(client, &["ip", "route", "get", &address.to_string()])?;
            ensure!(way.contains(LINK), "from {client}: {way}");
            // The node's own processes, who are answered the way that they asked.
            let url = format!("http://{}/", host(address));
            let said = town.cluster.enter(client, &["curl", "-s", "-m", "5", &url])?;
            ensure!(said.starts_with(&format!("web-{server} ")), "{address} told node {client}: {said}");
            let own = api::get(&format!("/api/v1/nodes/{client}"))?;
            let seen: IpAddr = said.trim().rsplit(' ').next().context("an address")?.parse()?;
            let ranges = own["spec"]["podCIDRs"].as_array().context("ranges")?;
            let ranges: Vec<ipnet::IpNet> = ranges
                .iter()
                .map(|net| Ok(net.as_str().unwrap_or_default().parse()?))
                .collect::<Result<_>>()?;
            ensure!(ranges.iter().any(|range| range.contains(&seen)), "node {client} is seen as {seen}");
        }
    }
    // Between adjacent nodes nothing goes by the tunnel, unless all does.
    for address in town.addresses(&format!("web-{}", town.nodes[1]))? {
        let way = town.cluster.enter(near, &["ip", "route", "get", &address.to_string()])?;
        ensure!(way.contains(LINK) == town.cluster.always_wraps(), "{way}");
        town.fetched(&format!("shell-{near}"), address)?;
    }
    Ok(())
}

#[test]
fn services_lead_behind_the_router_from_pods_nodes_and_outside() -> Result<()> {
    let town = Town::new(&both_families())?;
    let (near, far) = (town.nodes[0].clone(), town.far().to_string());
    // Nobody else answers.
    for node in &town.nodes[..2] {
        town.namespace.kubectl(&format!("delete pod web-{node}"))?;
    }
    let service = town.namespace.get("services/web")?;
    town.namespace.endpoints("web", families(&service))?;
    let port = node_port(&service)?;
    let node = api::get(&format!("/api/v1/nodes/{near}"))?;
    let internal = node["status"]["addresses"].as_array().into_iter().flatten();
    let internal = internal.filter(|of| of["type"] == "InternalIP").filter_map(|of| of["address"].as_str());
    let cluster_ips = service["spec"]["clusterIPs"].as_array().cloned().unwrap_or_default();
    for ip in cluster_ips.iter().filter_map(Value::as_str) {
        let ip: IpAddr = ip.parse()?;
        let url = format!("http://{}/", host(ip));
        for node in [&near, &far] {
            let pod = format!("shell-{node}");
            let said = eventually(PATIENCE, &format!("{ip} answers {pod}"), || town.fetched(&pod, ip))?;
            ensure!(said.starts_with(&format!("web-{far} ")), "{said}");
            let said = town.cluster.enter(node, &["curl", "-s", "-m", "5", &url])?;
            ensure!(said.starts_with(&format!("web-{far} ")), "{ip} told node {node}: {said}");
        }
    }
    // The machine is no node: its packets are translated by the node that it asks.
    for address in internal {
        let server = SocketAddr::new(address.parse()?, port);
        eventually(PATIENCE, &format!("{server} answers from outside"), || {
            let stream = std::net::TcpStream::connect_timeout(&server, Duration::from_secs(2))?;
            let said = keelson_tests::outside::get_over(stream)?;
            ensure!(said.starts_with(&format!("web-{far} ")), "{said}");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn packets_of_any_length_arrive_and_who_sends_longer_ones_is_told() -> Result<()> {
    /// More than all windows and queues hold.
    const BYTES: usize = 64 << 20;
    let town = Town::new(&both_families())?;
    let (near, far) = (town.nodes[0].clone(), town.far().to_string());
    let (client, server) = (format!("shell-{near}"), format!("web-{far}"));
    let tunnel = town.mtu();
    let mtu = town.namespace.shell(&client, "cat /sys/class/net/eth0/mtu")?;
    ensure!(mtu.trim() == tunnel.to_string(), "{mtu}, not {tunnel}");
    town.namespace.shell(&server, &format!("head -c {BYTES} /dev/zero > /tmp/big"))?;
    let (here, there) = (town.netns(&near, &client)?, town.netns(&far, &server)?);
    let addresses = town.addresses(&server)?;
    let transfer = |address: IpAddr| -> Result<()> {
        let fetch = format!("timeout 60 wget -q -O - http://{}/big | wc -c", host(address));
        let said = town.namespace.shell(&client, &fetch)?;
        ensure!(said.trim() == BYTES.to_string(), "{address}: {said}");
        Ok(())
    };
    for &address in &addresses {
        transfer(address)?;
        // Of the path's own length, one byte less and one more, and in many pieces.
        let longest = tunnel - if address.is_ipv4() { 28 } else { 48 };
        for length in [longest - 1, longest, longest + 1, 8000] {
            echoed(&here, &there, address, length).with_context(|| format!("{length} bytes to {address}"))?;
        }
    }
    // As pods that have been there since before there was a tunnel.
    for (node, netns) in [(&near, &here), (&far, &there)] {
        town.lengthen(node, netns)?;
    }
    for &address in &addresses {
        transfer(address)?;
        let back = town.addresses(&client)?.into_iter().find(|own| own.is_ipv4() == address.is_ipv4());
        let way = run(&there, &format!("ip route get {}", back.context("an address of that family")?))?;
        ensure!(way.contains(&format!("mtu {tunnel}")), "what the sender was told: {way}");
    }
    Ok(())
}

/// A datagram to a pod and back.
fn echoed(client: &str, server: &str, address: IpAddr, length: usize) -> Result<()> {
    const SILENCE: Duration = Duration::from_secs(5);
    let socket = within(server, move || Ok(UdpSocket::bind((address, 0))?))?;
    socket.set_read_timeout(Some(SILENCE))?;
    let target = socket.local_addr()?;
    let echo = std::thread::spawn(move || -> Result<()> {
        let mut buffer = vec![0; 65_536];
        let (got, from) = socket.recv_from(&mut buffer)?;
        socket.send_to(&buffer[..got], from)?;
        Ok(())
    });
    let socket = within(client, move || {
        let any: IpAddr = if address.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
        Ok(UdpSocket::bind((any, 0))?)
    })?;
    socket.set_read_timeout(Some(SILENCE))?;
    socket.send_to(&vec![7; length], target)?;
    let got = socket.recv(&mut vec![0; 65_536])?;
    echo.join().expect("it does not panic")?;
    ensure!(got == length, "{got} bytes came back");
    Ok(())
}

fn run(netns: &str, words: &str) -> Result<String> {
    let mut command = std::process::Command::new("nsenter");
    command.arg(format!("--net={netns}")).args(words.split(' '));
    let answer = keelson_tests::kubectl::run(command, None)?;
    ensure!(answer.code == Some(0), "`{words}`: {}", answer.stderr);
    Ok(answer.stdout)
}

#[test]
fn network_policies_hold_behind_the_router() -> Result<()> {
    let town = Town::new(&both_families())?;
    let (near, far) = (town.nodes[0].clone(), town.far().to_string());
    let allowed = format!("shell-{near}");
    town.namespace.apply_all(&[json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": { "name": "one" },
        "spec": {
            "podSelector": { "matchLabels": { "app": "web" } },
            "ingress": [{ "from": [{ "podSelector": { "matchLabels": { "app": allowed } } }] }],
        },
    })])?;
    // Both ways: who is policed is behind the router, and who is let in.
    let rows =
        [(near.clone(), far.clone(), true), (town.nodes[1].clone(), far.clone(), false), (far, near, false)];
    for (client, server, passes) in rows {
        for address in town.addresses(&format!("web-{server}"))? {
            let pod = format!("shell-{client}");
            eventually(PATIENCE, &format!("{pod} to {address} passes: {passes}"), || {
                ensure!(town.fetched(&pod, address).is_ok() == passes);
                Ok(())
            })?;
        }
    }
    Ok(())
}

#[test]
fn the_tunnel_outlives_the_daemon_and_is_adopted() -> Result<()> {
    let town = Town::new(&both_families())?;
    let (near, far) = (town.nodes[0].clone(), town.far().to_string());
    // Its index begins the line.
    let link = || -> Result<String> {
        let shown = town.cluster.enter(&far, &["ip", "-o", "link", "show", LINK])?;
        Ok(shown.split(':').next().unwrap_or_default().to_string())
    };
    let before = link()?;
    let addresses = town.addresses(&format!("web-{far}"))?;
    let all_reached = || {
        addresses.iter().try_for_each(|address| town.fetched(&format!("shell-{near}"), *address).map(drop))
    };
    all_reached()?;
    town.cluster.kill_daemon(&far, "node")?;
    let without = all_reached();
    town.cluster.up()?;
    without.context("while no daemon ran")?;
    eventually(PATIENCE, "all is reached again", || {
        ensure!(link()? == before, "the device was made anew");
        all_reached()
    })
}
