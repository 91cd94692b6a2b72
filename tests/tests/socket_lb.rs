//! Pods that want to see Services' addresses (`keelson.dev/socket-lb: "off"`): their sockets are left alone, their packets are
//! translated.
//!
//! What a socket is connected to is asked of the kernel (`/proc/net`), which knows nothing of getpeername()'s hook: in such a pod
//! it is the Service, in any other a backend.

use anyhow::{Context, Result, ensure};
use keelson_ebpf_common::{layout, value};
use keelson_sys::bpf::Map;
use keelson_tests::{
    Cluster, Namespace, PATIENCE, api,
    cluster::Inside,
    eventually,
    load::udp_server_at,
    manifest,
    outside::{get_over, within},
    stream::Stream,
};
use serde_json::{Value, json};
use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    path::Path,
    time::Duration,
};

use crate::{packets::netns_of, sctp::addresses, services::PROGRAMMED_MAX};

pub(crate) const SOCKET_LB: &str = "keelson.dev/socket-lb";
const TIMEOUT: Duration = Duration::from_secs(5);
const UDP_PORT: u16 = 7_079;

/// A client pod on a node, with this annotation.
pub(crate) fn client(name: &str, node: &str, said: Option<&str>) -> Value {
    let mut pod = manifest::on_node(manifest::shell(name), node);
    if let Some(said) = said {
        pod["metadata"]["annotations"] = json!({ SOCKET_LB: said });
    }
    pod
}

/// The address to which the calling thread's network namespace has a socket connected that has this port, by the kernel's own list.
fn connected_to(protocol: &str, own: SocketAddr) -> Result<SocketAddr> {
    let file = format!("/proc/thread-self/net/{protocol}{}", if own.is_ipv4() { "" } else { "6" });
    let text = fs::read_to_string(&file)?;
    let found = text.lines().skip(1).find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (local, remote) = (socket(words.next()?)?, socket(words.next()?)?);
        (local.port() == own.port() && remote.port() != 0).then_some(remote)
    });
    found.with_context(|| format!("no socket of {own} in {file}:\n{text}"))
}

/// As `/proc/net` writes it: words of the machine's order, then the port.
fn socket(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let words: Vec<u32> = (0..address.len() / 8)
        .map(|i| u32::from_str_radix(&address[i * 8..i * 8 + 8], 16).ok())
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(four) => IpAddr::from(Ipv4Addr::from(four)),
        Err(_) => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?)),
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// What a socket of a pod's namespace is connected to that has asked for a Service; it has been answered, and says itself that its
/// peer is the Service. As a process of the node's, for which the caller has to be [`Inside`].
pub(crate) fn tcp(netns: &str, service: SocketAddr) -> Result<SocketAddr> {
    within(netns, move || {
        let stream = TcpStream::connect_timeout(&service, TIMEOUT).with_context(|| service.to_string())?;
        let remote = remote_of(&stream, service)?;
        ensure!(get_over(stream)?.starts_with("web"));
        Ok(remote)
    })
}

/// As above, of a Service of whatever answers.
pub(crate) fn connected(netns: &str, service: SocketAddr) -> Result<SocketAddr> {
    within(netns, move || {
        let stream = TcpStream::connect_timeout(&service, TIMEOUT).with_context(|| service.to_string())?;
        remote_of(&stream, service)
    })
}

fn remote_of(stream: &TcpStream, service: SocketAddr) -> Result<SocketAddr> {
    let (own, peer) = (stream.local_addr()?, stream.peer_addr()?);
    ensure!(peer == service, "the peer of {service} is {peer}");
    connected_to("tcp", own)
}

fn udp(netns: &str, service: SocketAddr) -> Result<SocketAddr> {
    within(netns, move || {
        let socket = UdpSocket::bind(if service.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        let mut buffer = [0; 64];
        socket.send_to(b"who", service)?;
        let (_, from) = socket.recv_from(&mut buffer).context("an unconnected socket")?;
        ensure!(from == service, "asked {service}, {from} answers");
        socket.connect(service)?;
        ensure!(socket.peer_addr()? == service);
        let remote = connected_to("udp", socket.local_addr()?)?;
        socket.send(b"who")?;
        socket.recv(&mut buffer).context("a connected socket")?;
        Ok(remote)
    })
}

/// A datagram longer than any link takes at once is answered by the Service.
fn in_pieces(netns: &str, service: SocketAddr) -> Result<()> {
    within(netns, move || {
        let socket = UdpSocket::bind(if service.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        socket.send_to(&[7; 4000], service)?;
        let (_, from) = socket.recv_from(&mut [0; 64])?;
        ensure!(from == service, "asked {service}, {from} answers");
        Ok(())
    })
}

/// Links of a node's pods whose sockets are left alone.
fn bypassing(node: &str) -> Result<Vec<String>> {
    let pin =
        Path::new("/sys/fs/bpf/keelson").join(node).join("state").join(format!("{}-1", layout::BYPASS.name));
    let map = Map::open_pinned(&pin)?.with_context(|| format!("no map at {}", pin.display()))?;
    let entries = map.entries()?;
    let links = entries.values.chunks_exact(size_of::<value::Bypass>());
    Ok(links.map(|name| String::from_utf8_lossy(name).trim_end_matches('\0').to_string()).collect())
}

/// A Service `web` of both families, TCP 80, with a server on each node.
pub(crate) fn web(cluster: &Cluster, namespace: &Namespace) -> Result<Vec<SocketAddr>> {
    let mut service = manifest::service("web", "web");
    service["spec"]["ipFamilyPolicy"] = "PreferDualStack".into();
    let mut objects = vec![service];
    for node in cluster.nodes() {
        let mut pod = manifest::on_node(manifest::shell(&format!("web-{node}")), &node);
        pod["spec"]["containers"] = json!([manifest::answering("$HOSTNAME")]);
        pod["metadata"]["labels"] = json!({ "app": "web" });
        objects.push(pod);
    }
    namespace.apply_all(&objects)?;
    namespace.ready_pods("app=web", cluster.nodes().len())?;
    addresses(&namespace.get("services/web")?, 80)
}

/// A Service of UDP servers on two nodes, at these addresses of theirs, and the servers.
fn who(
    cluster: &Cluster,
    namespace: &Namespace,
    name: &str,
    servers: [SocketAddr; 2],
) -> Result<(SocketAddr, Vec<Stream>)> {
    let running = ["n1", "n2"].into_iter().zip(servers);
    let running = running.map(|(node, at)| udp_server_at(cluster, node, at)).collect::<Result<_>>()?;
    let family = if servers[0].is_ipv4() { "IPv4" } else { "IPv6" };
    let endpoints = servers.map(|at| json!({ "addresses": [at.ip()], "conditions": { "ready": true } }));
    namespace.apply_all(&[
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name },
                "spec": { "ipFamilies": [family],
                          "ports": [{ "port": 77, "protocol": "UDP", "targetPort": UDP_PORT }] } }),
        json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family,
                "metadata": { "name": format!("{name}-1"), "labels": { "kubernetes.io/service-name": name } },
                "endpoints": endpoints, "ports": [{ "port": UDP_PORT, "protocol": "UDP" }] }),
    ])?;
    Ok((SocketAddr::new(namespace.cluster_ip(name)?.parse()?, 77), running))
}

#[test]
fn sockets_of_a_pod_that_says_so_are_left_alone_and_served_by_packet() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("socketlb")?);
    let services = web(&cluster, &namespace)?;
    let at = |address: String| Ok::<_, anyhow::Error>(SocketAddr::new(address.parse()?, UDP_PORT));
    let four = [at(cluster.node_address("n1")?)?, at(cluster.node_address("n2")?)?];
    let mut of_udp = vec![who(&cluster, &namespace, "who", four)?];
    if cluster.ip_family() == "dual" {
        let six = [at(cluster.node_address6("n1")?)?, at(cluster.node_address6("n2")?)?];
        of_udp.push(who(&cluster, &namespace, "who-six", six)?);
    }
    namespace.apply_all(&[client("off", "n1", Some("off")), client("normal", "n1", None)])?;
    for (name, left_alone) in [("off", true), ("normal", false)] {
        let netns = netns_of(&cluster, &namespace.ready(name)?)?;
        let _inside = Inside::enter(&cluster, "n1")?;
        let check = |service: SocketAddr, remote: SocketAddr| {
            ensure!((remote == service) == left_alone, "{name} is connected to {remote} for {service}");
            Ok(())
        };
        for &service in &services {
            eventually(PROGRAMMED_MAX, &format!("{name} reaches {service}"), || tcp(&netns, service))?;
            (0..12).try_for_each(|_| check(service, tcp(&netns, service)?))?;
        }
        for &(service, _) in &of_udp {
            eventually(PROGRAMMED_MAX, &format!("{name} reaches {service}"), || udp(&netns, service))?;
            (0..6).try_for_each(|_| check(service, udp(&netns, service)?))?;
            // In pieces: only the first one has ports.
            (0..10).try_for_each(|_| {
                in_pieces(&netns, service).with_context(|| format!("of {name} to {service}"))
            })?;
        }
    }
    // Its own processes: names, echo, and a node port of its own node.
    let change = json!({ "spec": { "type": "NodePort" } });
    api::merge(&namespace.path("services/web"), &change)?;
    let port =
        namespace.get("services/web")?["spec"]["ports"][0]["nodePort"].as_u64().context("a node port")?;
    let node = cluster.node_address("n1")?;
    eventually(PROGRAMMED_MAX, "all ways are open", || {
        namespace.shell("off", "timeout 5 wget -q -O - http://web/")?;
        for service in &services {
            namespace.shell("off", &format!("ping -c 1 -W 2 {}", service.ip()))?;
        }
        namespace.shell("off", &format!("timeout 5 wget -q -O - http://{node}:{port}/"))
    })?;
    Ok(())
}

#[test]
fn a_pod_reaches_itself_packet_by_packet_in_both_families() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("socketlb")?);
    let mut pod = client("web", "n1", Some("off"));
    pod["spec"]["containers"] = json!([manifest::answering("$HOSTNAME")]);
    let mut service = manifest::service("web", "web");
    service["spec"]["ipFamilyPolicy"] = "PreferDualStack".into();
    namespace.apply_all(&[service, pod])?;
    let netns = netns_of(&cluster, &namespace.ready("web")?)?;
    let _inside = Inside::enter(&cluster, "n1")?;
    for service in addresses(&namespace.get("services/web")?, 80)? {
        let remote = eventually(PROGRAMMED_MAX, &format!("the pod is answered by {service}"), || {
            tcp(&netns, service)
        })?;
        ensure!(remote == service, "it is connected to {remote}");
    }
    Ok(())
}

#[test]
fn a_namespace_speaks_for_its_pods_and_what_is_no_value_is_told() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("socketlb")?);
    let said = json!({ "metadata": { "annotations": { SOCKET_LB: "off" } } });
    api::merge(&format!("/api/v1/namespaces/{}", namespace.name), &said)?;
    let services = web(&cluster, &namespace)?;
    namespace.apply_all(&[
        client("silent", "n2", None),
        client("differs", "n2", Some("on")),
        client("wrong", "n2", Some("maybe")),
    ])?;
    for (name, left_alone) in [("silent", true), ("differs", false), ("wrong", true)] {
        let netns = netns_of(&cluster, &namespace.ready(name)?)?;
        let _inside = Inside::enter(&cluster, "n2")?;
        let remote = eventually(PROGRAMMED_MAX, &format!("{name} is served"), || tcp(&netns, services[0]))?;
        ensure!((remote == services[0]) == left_alone, "{name} is connected to {remote}");
    }
    eventually(PATIENCE, "an event names the annotation's value", || {
        let events = namespace.list("events", "")?;
        let told = |event: &Value| {
            event["reason"] == "UnknownAnnotationValue"
                && event["involvedObject"]["name"] == "wrong"
                && event["message"].as_str().unwrap_or_default().contains("\"maybe\"")
        };
        ensure!(events.iter().any(told), "{events:?}");
        Ok(())
    })?;
    // It goes with the pod.
    let before = bypassing("n2")?;
    namespace.kubectl("delete pod silent --wait=true")?;
    eventually(PATIENCE, "the node forgets the pod", || {
        let gone = before.iter().filter(|link| !bypassing("n2").is_ok_and(|now| now.contains(link))).count();
        ensure!(gone >= 1, "{before:?}");
        Ok(())
    })
}
