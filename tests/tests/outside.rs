//! Services for those who are not of the cluster, and the cluster's pods for the world: whose address is seen, who is let in.

mod mtu;

use anyhow::{Context, Result, ensure};
use keelson_tests::{
    Cluster, Namespace, PATIENCE, api, eventually,
    load::{from_node, from_pod, udp_server_at},
    manifest,
    outside::{OUTSIDE_IP, OUTSIDE_IP6, Outside, get_over},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
};

use crate::{podnet::dual, services::PROGRAMMED_MAX};

/// Answers every request with the pod's name and the client's address as it sees it.
pub(crate) fn telling() -> Value {
    let conf = "events {} http { server { listen 80; #SIX
        root /tmp; location = / { return 200 \"$hostname $remote_addr\\n\"; } } }";
    let six = "[ -e /proc/net/if_inet6 ] && sed -i 's/#SIX/listen [::]:80;/' /tmp/telling.conf";
    let start =
        format!("echo '{conf}' > /tmp/telling.conf; {six}; exec nginx -c /tmp/telling.conf -g 'daemon off;'");
    let mut container = manifest::answering("unused");
    container["command"] = json!(["sh", "-c", start]);
    container
}

/// A pod `web-NODE` on each of the nodes, and the Service `web` of `spec` in front of them.
pub(crate) fn web(namespace: &Namespace, nodes: &[String], spec: &Value) -> Result<Value> {
    let mut service = manifest::service("web", "web");
    for (field, value) in spec.as_object().context("a spec")? {
        service["spec"][field] = value.clone();
    }
    let mut objects = vec![service];
    for node in nodes {
        let mut pod = manifest::on_node(manifest::shell(&format!("web-{node}")), node);
        pod["spec"]["containers"] = json!([telling()]);
        pod["metadata"]["labels"] = json!({ "app": "web" });
        objects.push(pod);
    }
    namespace.apply_all(&objects)?;
    namespace.ready_pods("app=web", nodes.len())?;
    let service = namespace.get("services/web")?;
    namespace.endpoints("web", nodes.len() * families(&service))?;
    Ok(service)
}

/// Of how many a Service has addresses: each has slices of its own.
pub(crate) fn families(service: &Value) -> usize {
    service["spec"]["ipFamilies"].as_array().map_or(1, Vec::len)
}

pub(crate) fn node_port(service: &Value) -> Result<u16> {
    let port = service["spec"]["ports"][0]["nodePort"].as_u64().context("a Service without node port")?;
    Ok(u16::try_from(port)?)
}

/// Who answered, and whom they saw, over so many connections.
pub(crate) fn answers(
    outside: &Outside,
    server: SocketAddr,
    number: usize,
) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for _ in 0..number {
        let answer = outside.get(server)?;
        let (pod, client) = answer.split_once(' ').with_context(|| format!("the answer is {answer:?}"))?;
        seen.entry(pod.into()).or_default().insert(client.into());
    }
    Ok(seen)
}

pub(crate) fn at(address: &str, port: u16) -> Result<SocketAddr> {
    Ok(SocketAddr::new(address.parse()?, port))
}

#[test]
fn a_node_port_leads_to_the_endpoints_of_all_nodes() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("outside")?);
    let (nodes, outside) = (cluster.nodes(), Outside::new(&cluster)?);
    let port = node_port(&web(&namespace, &nodes, &json!({ "type": "NodePort" }))?)?;
    for node in &nodes {
        let address = cluster.node_address(node)?;
        eventually(PROGRAMMED_MAX, &format!("{node} leads to all"), || {
            let seen = answers(&outside, at(&address, port)?, 20 * nodes.len())?;
            ensure!(seen.len() == nodes.len(), "{seen:?}");
            for (pod, clients) in seen {
                // Pods of the node itself see the client, those of others the node that answers in their place.
                let local = pod == format!("web-{node}");
                let expected = if local { OUTSIDE_IP } else { &address };
                ensure!(clients.iter().eq([expected]), "{pod} sees {clients:?} for a client of {node}");
            }
            Ok(())
        })?;
    }
    // Back to a cluster address: it is refused.
    api::merge(&namespace.path("services/web"), &json!({ "spec": { "type": "ClusterIP" } }))?;
    let server = at(&cluster.node_address(&nodes[0])?, port)?;
    eventually(PROGRAMMED_MAX, "nobody answers", || {
        let kind = outside.refusal(server)?;
        ensure!(kind == io::ErrorKind::ConnectionRefused, "{kind:?}");
        Ok(())
    })
}

#[test]
fn policy_local_keeps_the_clients_address_and_leads_to_the_nodes_own() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("outside")?);
    let (nodes, outside) = (cluster.nodes(), Outside::new(&cluster)?);
    let spec = json!({ "type": "NodePort", "externalTrafficPolicy": "Local" });
    let port = node_port(&web(&namespace, &nodes[..2], &spec)?)?;
    for node in &nodes[..2] {
        let server = at(&cluster.node_address(node)?, port)?;
        eventually(PROGRAMMED_MAX, &format!("{node} leads to its own"), || {
            let seen = answers(&outside, server, 10)?;
            let expected =
                BTreeMap::from([(format!("web-{node}"), BTreeSet::from([OUTSIDE_IP.to_string()]))]);
            ensure!(seen == expected, "{seen:?}");
            Ok(())
        })?;
    }
    // A node without endpoints says nothing: the load balancer's health check has told it off.
    let silent = outside.refusal(at(&cluster.node_address(&nodes[2])?, port)?)?;
    ensure!(silent == io::ErrorKind::TimedOut, "{silent:?}");
    Ok(())
}

#[test]
fn external_and_load_balancer_addresses_admit_whom_the_service_names() -> Result<()> {
    const EXTERNAL: &str = "198.51.100.17";
    const BALANCED: &str = "203.0.113.17";
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("outside")?);
    let (nodes, mut outside) = (cluster.nodes(), Outside::new(&cluster)?);
    let spec = json!({
        "type": "LoadBalancer", "loadBalancerClass": "example.org/none", "externalIPs": [EXTERNAL],
        "loadBalancerSourceRanges": [format!("{OUTSIDE_IP}/32")],
    });
    web(&namespace, &nodes, &spec)?;
    let ingress = json!({ "status": { "loadBalancer": { "ingress": [{ "ip": BALANCED }] } } });
    api::merge(&namespace.path("services/web/status"), &ingress)?;
    for node in &nodes {
        for address in [EXTERNAL, BALANCED] {
            outside.route(address, &cluster.node_address(node)?)?;
            eventually(PROGRAMMED_MAX, &format!("{address} by {node}"), || {
                let seen = answers(&outside, at(address, 80)?, 20 * nodes.len())?;
                ensure!(seen.len() == nodes.len(), "{seen:?}");
                Ok(())
            })?;
        }
    }
    // Others are not let in by the balanced address; the external one has no ranges.
    let others = json!({ "spec": { "loadBalancerSourceRanges": ["192.0.2.128/25", "198.18.0.0/15"] } });
    api::merge(&namespace.path("services/web"), &others)?;
    eventually(PATIENCE, "the host is shut out", || {
        let kind = outside.refusal(at(BALANCED, 80)?)?;
        ensure!(kind == io::ErrorKind::TimedOut, "{kind:?}");
        Ok(())
    })?;
    outside.get(at(EXTERNAL, 80)?)?;
    Ok(())
}

#[test]
fn a_load_balancers_address_is_answered_for_by_one_node_and_moves_with_it() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("outside")?);
    let (nodes, outside) = (cluster.nodes(), Outside::new(&cluster)?);
    moves_with_its_node(&namespace, &nodes, &outside, &json!({ "type": "LoadBalancer" }), OUTSIDE_IP)
}

#[test]
fn a_load_balancers_ipv6_address_is_answered_for_by_one_node_and_moves_with_it() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("outside")?);
    if cluster.ip_family() == "ipv4" {
        println!("skipped: the cluster has no IPv6");
        return Ok(());
    }
    let (nodes, outside) = (cluster.nodes(), Outside::new(&cluster)?);
    let spec = json!({ "type": "LoadBalancer", "ipFamilies": ["IPv6"] });
    moves_with_its_node(&namespace, &nodes, &outside, &spec, OUTSIDE_IP6)
}

/// `client` is how the endpoints see the host outside.
fn moves_with_its_node(
    namespace: &Namespace,
    nodes: &[String],
    outside: &Outside,
    spec: &Value,
    client: &str,
) -> Result<()> {
    const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
    web(namespace, nodes, spec)?;
    let address = eventually(PATIENCE, "the Service has an address of the pool", || {
        let service = namespace.get("services/web")?;
        let ip = service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str();
        Ok(ip.context("no address")?.to_string())
    })?;
    // The host has no route to it but the wire itself.
    let reached = |by: &dyn Fn(&str) -> bool| {
        eventually(PATIENCE, &format!("{address} is reached"), || {
            let seen = answers(outside, at(&address, 80)?, 20)?;
            ensure!(seen.len() == nodes.len(), "{seen:?}");
            let node = outside.answers_for(&address)?;
            ensure!(by(&node), "{node} answers");
            Ok(node)
        })
    };
    let first = reached(&|_| true)?;
    let label = format!("/api/v1/nodes/{first}");
    api::merge(&label, &json!({ "metadata": { "labels": { EXCLUDED: "" } } }))?;
    let moved = reached(&|node| node != first);
    api::merge(&label, &json!({ "metadata": { "labels": { EXCLUDED: null } } }))?;
    moved?;
    reached(&|node| node == first)?;
    // Only nodes with endpoints, where the Service wants the client's address.
    namespace.kubectl(&format!("delete pod web-{first}"))?;
    api::merge(&namespace.path("services/web"), &json!({ "spec": { "externalTrafficPolicy": "Local" } }))?;
    eventually(PATIENCE, "a node with an endpoint answers", || {
        let seen = answers(outside, at(&address, 80)?, 5)?;
        let node = outside.answers_for(&address)?;
        let expected = BTreeMap::from([(format!("web-{node}"), BTreeSet::from([client.to_string()]))]);
        ensure!(node != first && seen == expected, "{node}: {seen:?}");
        Ok(())
    })
}

#[test]
fn a_client_with_affinity_stays_with_its_endpoint_until_that_is_gone() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("outside")?);
    let (nodes, outside) = (cluster.nodes(), Outside::new(&cluster)?);
    let spec = json!({ "type": "NodePort", "sessionAffinity": "ClientIP" });
    let port = node_port(&web(&namespace, &nodes, &spec)?)?;
    let server = at(&cluster.node_address(&nodes[0])?, port)?;
    eventually(PROGRAMMED_MAX, "the node port answers", || outside.get(server))?;
    let first = answers(&outside, server, 20)?;
    ensure!(first.len() == 1, "{first:?}");
    let pod = first.keys().next().context("an answer")?;
    namespace.kubectl(&format!("delete pod {pod} --wait=true"))?;
    eventually(PROGRAMMED_MAX, "another takes over", || {
        let second = answers(&outside, server, 20)?;
        ensure!(second.len() == 1 && second.keys().next() != Some(pod), "{second:?}");
        Ok(())
    })
}

#[test]
fn datagrams_from_outside_are_answered_by_the_address_that_was_asked() -> Result<()> {
    let cluster = Cluster::require()?;
    let addresses =
        cluster.nodes().iter().map(|node| cluster.node_address(node)).collect::<Result<Vec<_>>>()?;
    datagrams_are_answered(&cluster, &addresses, 30_073)
}

#[test]
fn datagrams_of_ipv6_from_outside_are_answered_by_the_address_that_was_asked() -> Result<()> {
    let Some(cluster) = dual()? else { return Ok(()) };
    let addresses =
        cluster.nodes().iter().map(|node| cluster.node_address6(node)).collect::<Result<Vec<_>>>()?;
    datagrams_are_answered(&cluster, &addresses, 30_074)
}

/// By a node port, which is of the band that is not given out without being asked for, on each of these addresses of the nodes.
fn datagrams_are_answered(cluster: &Cluster, addresses: &[String], port: u16) -> Result<()> {
    let namespace = Namespace::create("outside")?;
    let (nodes, outside) = (cluster.nodes(), Outside::new(cluster)?);
    let servers = nodes[..2].iter().zip(addresses);
    let _servers = servers
        .map(|(node, address)| udp_server_at(cluster, node, at(address, 5353)?))
        .collect::<Result<Vec<_>>>()?;
    let family = if at(&addresses[0], port)?.is_ipv4() { "IPv4" } else { "IPv6" };
    let endpoints: Vec<Value> = nodes[..2]
        .iter()
        .zip(addresses)
        .map(|(node, address)| json!({ "addresses": [address], "nodeName": node, "conditions": { "ready": true } }))
        .collect();
    namespace.apply_all(&[
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "echo" },
            "spec": { "type": "NodePort", "ipFamilies": [family],
                      "ports": [{ "port": 53, "protocol": "UDP", "nodePort": port }] },
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family,
            "metadata": { "name": "echo-1", "labels": { "kubernetes.io/service-name": "echo" } },
            "ports": [{ "name": "", "port": 5353, "protocol": "UDP" }], "endpoints": endpoints,
        }),
    ])?;
    for (node, address) in nodes.iter().zip(addresses) {
        let server = at(address, port)?;
        eventually(PROGRAMMED_MAX, &format!("both answer by {node}"), || {
            let who: BTreeSet<_> = (0..40).map(|_| outside.ask_udp(server)).collect::<Result<_>>()?;
            ensure!(who.len() == 2, "{who:?}");
            Ok(())
        })?;
        // Those that come in pieces: only the first one has ports.
        let long =
            (0..20).map(|_| outside.ask_udp_with(server, &[7; 4000])).collect::<Result<BTreeSet<_>>>()?;
        ensure!(long.len() == 2, "{long:?}");
    }
    Ok(())
}

#[test]
fn a_connection_from_outside_outlives_its_service_and_the_daemon_sees_it_through() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("outside")?);
    let (nodes, outside) = (cluster.nodes(), Outside::new(&cluster)?);
    let port = node_port(&web(&namespace, &nodes[1..2], &json!({ "type": "NodePort" }))?)?;
    let server = at(&cluster.node_address(&nodes[0])?, port)?;
    eventually(PROGRAMMED_MAX, "the node port answers", || outside.get(server))?;
    let held = outside.connect(server)?;
    namespace.kubectl("delete service web")?;
    eventually(PROGRAMMED_MAX, "nobody new is let in", || {
        ensure!(outside.refusal(server)? == io::ErrorKind::ConnectionRefused);
        Ok(())
    })?;
    let answer = get_over(held)?;
    ensure!(answer.starts_with(&format!("web-{}", nodes[1])), "{answer}");
    Ok(())
}

#[test]
fn a_host_port_leads_to_its_pod_alone() -> Result<()> {
    const PORT: u16 = 18_080;
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("outside")?);
    let (nodes, outside) = (cluster.nodes(), Outside::new(&cluster)?);
    let address = cluster.node_address(&nodes[0])?;
    let pod = |name: &str, port: Value| {
        let mut pod = manifest::on_node(manifest::shell(name), &nodes[0]);
        pod["spec"]["containers"] = json!([telling()]);
        pod["spec"]["containers"][0]["ports"] = json!([port]);
        pod
    };
    namespace.apply_all(&[
        pod("everywhere", json!({ "containerPort": 80, "hostPort": PORT })),
        pod("there", json!({ "containerPort": 80, "hostPort": PORT + 1, "hostIP": address })),
        manifest::on_node(manifest::shell("client"), &nodes[1]),
    ])?;
    ["everywhere", "there", "client"].iter().try_for_each(|pod| namespace.ready(pod).map(drop))?;
    for (pod, port) in [("everywhere", PORT), ("there", PORT + 1)] {
        let server = at(&address, port)?;
        eventually(PROGRAMMED_MAX, &format!("{pod} answers"), || {
            let answer = outside.get(server)?;
            ensure!(answer == format!("{pod} {OUTSIDE_IP}"), "{answer}");
            Ok(())
        })?;
        from_node(&cluster, &nodes[0], &format!("{address}:{port}"), 3)?.all_answered(3)?;
        from_pod(&namespace, "client", &format!("http://{address}:{port}/"), 3)?.all_answered(3)?;
    }
    // Loopback is the node's own, where the pod asks for it; no other node has the port.
    from_node(&cluster, &nodes[0], &format!("127.0.0.1:{PORT}"), 3)?.all_answered(3)?;
    for (node, target) in
        [(&nodes[0], format!("127.0.0.1:{}", PORT + 1)), (&nodes[1], format!("127.0.0.1:{PORT}"))]
    {
        let count = from_node(&cluster, node, &target, 1)?;
        ensure!(count.failures.len() == 1, "{target} on {node}: {:?}", count.answers);
    }
    namespace.kubectl("delete pod everywhere")?;
    eventually(PROGRAMMED_MAX, "the port is closed", || {
        let kind = outside.refusal(at(&address, PORT)?)?;
        ensure!(kind == io::ErrorKind::ConnectionRefused, "{kind:?}");
        Ok(())
    })
}

#[test]
fn a_pod_is_seen_outside_by_its_nodes_address() -> Result<()> {
    const PORT: u16 = 8088;
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("outside")?);
    let (nodes, outside) = (cluster.nodes(), Outside::new(&cluster)?);
    let server = outside.serve(PORT, 1)?;
    namespace.apply_all(&[manifest::on_node(manifest::shell("client"), &nodes[0])])?;
    namespace.ready("client")?;
    let seen = namespace.shell("client", &format!("timeout 5 nc {OUTSIDE_IP} {PORT} < /dev/null"))?;
    server.join().expect("it does not panic")?;
    ensure!(seen.trim() == cluster.node_address(&nodes[0])?, "{seen} is seen");
    namespace.shell("client", &format!("ping -c 1 -W 2 {OUTSIDE_IP}"))?;
    Ok(())
}
