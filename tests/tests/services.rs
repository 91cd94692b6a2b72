//! Services: an address and a name, spread evenly over what is ready, from every pod and every node.

use anyhow::{Context, Result, ensure};
use keelson_tests::{
    Cluster, Namespace, PATIENCE, eventually,
    load::{from_node, from_pod, udp_from_node, udp_server},
    manifest,
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// 3,000 over 5: a share of 600 with a standard deviation of 22, so that 20 % is more than five of them.
const ENDPOINTS: usize = 5;
const CONNECTIONS: u32 = 3000;

/// From the API's state to every node's maps: each node learns of it by a watch of its own, at once, but not at the same
/// moment as this test.
pub(crate) const PROGRAMMED_MAX: Duration = Duration::from_secs(2);

/// A Service `web` with `count` ready endpoints that answer with their pods' names.
pub(crate) fn web(cluster: &Cluster, namespace: &Namespace, count: usize) -> Result<()> {
    namespace.apply_all(&[
        manifest::deployment("web", count as u32, manifest::answering("$HOSTNAME")),
        manifest::service("web", "web"),
    ])?;
    namespace.ready_pods("app=web", count)?;
    namespace.endpoints("web", count)?;
    let target = format!("{}:80", namespace.dns_name("web"));
    cluster.nodes().iter().try_for_each(|node| {
        eventually(PROGRAMMED_MAX, &format!("{node} leads to all {count} endpoints"), || {
            from_node(cluster, node, &target, 20 * count as u32)?.reached(count)
        })
    })
}

/// A client pod on each node, named after it.
pub(crate) fn clients(cluster: &Cluster, namespace: &Namespace) -> Result<Vec<String>> {
    let nodes = cluster.nodes();
    let pods: Vec<Value> = nodes.iter().map(|node| manifest::on_node(manifest::shell(node), node)).collect();
    namespace.apply_all(&pods)?;
    for node in &nodes {
        namespace.ready(node)?;
    }
    Ok(nodes)
}

#[test]
fn connections_of_pods_spread_by_address_and_by_name() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("services")?);
    web(&cluster, &namespace, ENDPOINTS)?;
    let address = namespace.cluster_ip("web")?;
    ensure!(address.starts_with("10.96."), "{address} is not of the Service CIDR");
    for pod in clients(&cluster, &namespace)? {
        for host in [&address, "web"] {
            let count = from_pod(&namespace, &pod, &format!("http://{host}/"), CONNECTIONS)?;
            count.spread_over(ENDPOINTS).with_context(|| format!("from a pod on {pod} to {host}"))?;
            ensure!(count.answered() == u64::from(CONNECTIONS));
        }
    }
    Ok(())
}

#[test]
fn connections_of_nodes_spread_by_address_and_by_name() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("services")?);
    web(&cluster, &namespace, ENDPOINTS)?;
    for node in cluster.nodes() {
        for host in [namespace.cluster_ip("web")?, namespace.dns_name("web")] {
            let count = from_node(&cluster, &node, &format!("{host}:80"), CONNECTIONS)?;
            count.spread_over(ENDPOINTS).with_context(|| format!("from {node} to {host}"))?;
            ensure!(count.answered() == u64::from(CONNECTIONS));
        }
    }
    Ok(())
}

#[test]
fn an_ipv6_socket_reaches_a_service_by_its_mapped_address() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("services")?);
    web(&cluster, &namespace, 2)?;
    let target = format!("[::ffff:{}]:80", namespace.cluster_ip("web")?);
    from_node(&cluster, "n1", &target, 1000)?.spread_over(2)
}

#[test]
fn an_endpoint_that_turns_unready_gets_no_new_connection() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("services")?);
    let mut container = manifest::answering("$HOSTNAME");
    container["readinessProbe"] = json!({"exec": {"command": ["test", "!", "-e", "/tmp/unready"]}, "periodSeconds": 1, "failureThreshold": 1});
    namespace.apply_all(&[manifest::deployment("web", 3, container), manifest::service("web", "web")])?;
    let pods = namespace.ready_pods("app=web", 3)?;
    namespace.endpoints("web", 3)?;
    clients(&cluster, &namespace)?;
    let target = format!("{}:80", namespace.cluster_ip("web")?);
    from_node(&cluster, "n1", &target, 300)?.all_answered(300)?;

    let victim = pods[0]["metadata"]["name"].as_str().context("every pod has a name")?;
    namespace.shell(victim, "touch /tmp/unready")?;
    namespace.endpoints("web", 2)?;
    for node in cluster.nodes() {
        eventually(PROGRAMMED_MAX, &format!("{node} leaves {victim} out"), || {
            let count = from_node(&cluster, &node, &target, 60)?;
            ensure!(!count.answers.contains_key(victim), "{:?}", count.answers);
            Ok(())
        })?;
        for count in
            [from_node(&cluster, &node, &target, 500)?, from_pod(&namespace, &node, "http://web/", 200)?]
        {
            count.all_answered(200)?;
            ensure!(!count.answers.contains_key(victim), "{victim} was connected to: {:?}", count.answers);
        }
    }
    namespace.shell(victim, "rm /tmp/unready")?;
    namespace.endpoints("web", 3)?;
    eventually(PATIENCE, "it is connected to again", || {
        let count = from_node(&cluster, "n1", &target, 60)?;
        ensure!(count.answers.contains_key(victim), "{:?}", count.answers);
        Ok(())
    })
}

#[test]
fn a_service_without_endpoints_refuses_at_once() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("services")?);
    namespace.apply_all(&[manifest::service("web", "web"), manifest::shell("client")])?;
    namespace.ready("client")?;
    let target = format!("{}:80", namespace.cluster_ip("web")?);
    eventually(PATIENCE, "the node knows the Service", || {
        let start = Instant::now();
        let count = from_node(&cluster, "n1", &target, 1)?;
        let took = start.elapsed();
        let refused = count.failures.iter().any(|failure| failure.contains("refused"));
        ensure!(refused && took < Duration::from_secs(1), "after {took:?}: {:?}", count.failures);
        Ok(())
    })?;
    let said = eventually(PATIENCE, "the pod's node knows the Service", || {
        let said = namespace.shell("client", "timeout 5 wget -O - http://web/ 2>&1 || true")?;
        ensure!(said.contains("onnection refused"), "{said}");
        Ok(said)
    })?;
    ensure!(!said.contains("bad address"), "the name is known: {said}");
    // It works as soon as there is an endpoint.
    web(&cluster, &namespace, 1)?;
    eventually(PROGRAMMED_MAX, "the first endpoint is connected to", || {
        from_node(&cluster, "n1", &target, 1)?.all_answered(1)
    })
}

#[test]
fn a_pod_reaches_itself_by_its_service() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("services")?);
    web(&cluster, &namespace, 1)?;
    let pods = namespace.ready_pods("app=web", 1)?;
    let pod = pods[0]["metadata"]["name"].as_str().context("every pod has a name")?;
    from_pod(&namespace, pod, "http://web/", 20)?.all_answered(20)
}

#[test]
fn ports_are_told_apart_and_named() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("services")?);
    let start = "for port in 8001 8002; do mkdir -p /www/$port; echo $port > /www/$port/index.html; \
                 httpd -p $port -h /www/$port; done; exec sleep 1000000";
    let mut pod = manifest::script("two", start);
    pod["spec"]["containers"][0]["ports"] = json!([{"name": "second", "containerPort": 8002}]);
    pod["spec"]["containers"][0]["readinessProbe"] = json!({"tcpSocket": {"port": 8002}, "periodSeconds": 1});
    let mut service = manifest::service("two", "two");
    service["spec"]["ports"] = json!([{"name": "a", "port": 80, "targetPort": 8001}, {"name": "b", "port": 81, "targetPort": "second"}]);
    namespace.apply_all(&[pod, service])?;
    namespace.ready("two")?;
    let address = namespace.cluster_ip("two")?;
    for (port, answer) in [("80", "8001"), ("81", "8002")] {
        eventually(PATIENCE, &format!("port {port} leads to {answer}"), || {
            let count = from_node(&cluster, "n2", &format!("{address}:{port}"), 5)?;
            count.all_answered(5)?;
            ensure!(count.answers.keys().eq([answer]), "{:?}", count.answers);
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn udp_is_balanced_and_answered_by_the_service_itself() -> Result<()> {
    const PORT: u16 = 7077;
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("services")?);
    let nodes = ["n2", "n3"];
    let _servers =
        nodes.map(|node| udp_server(&cluster, node, PORT)).into_iter().collect::<Result<Vec<_>>>()?;
    let addresses = nodes.map(|node| cluster.node_address(node)).into_iter().collect::<Result<Vec<_>>>()?;
    let endpoints: Vec<Value> =
        addresses.iter().map(|a| json!({"addresses": [a], "conditions": {"ready": true}})).collect();
    namespace.apply_all(&[
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "who"},
               "spec": {"ports": [{"port": 77, "protocol": "UDP", "targetPort": PORT}]}}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
               "metadata": {"name": "who-1", "labels": {"kubernetes.io/service-name": "who"}},
               "addressType": "IPv4", "endpoints": endpoints, "ports": [{"port": PORT, "protocol": "UDP"}]}),
    ])?;
    let address = namespace.cluster_ip("who")?;
    for target in [
        format!("{address}:77"),
        format!("[::ffff:{address}]:77"),
        format!("{}:77", namespace.dns_name("who")),
    ] {
        eventually(PATIENCE, &format!("{target} answers"), || {
            udp_from_node(&cluster, "n1", &target, 2)?.all_answered(2)
        })?;
        let count = udp_from_node(&cluster, "n1", &target, 400)?;
        count.all_answered(400).with_context(|| target.clone())?;
        ensure!(count.answers.len() == 2, "both are asked: {:?}", count.answers);
    }
    Ok(())
}

#[test]
fn pods_of_different_nodes_reach_each_other_unchanged() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("services")?);
    let clients = clients(&cluster, &namespace)?;
    let address = |pod: &str| -> Result<String> {
        let pod = namespace.get(&format!("pods/{pod}"))?;
        Ok(pod["status"]["podIP"].as_str().context("a running pod has an address")?.to_string())
    };
    for server in &clients {
        // busybox' nc has no way to print its peer: httpd's environment for a CGI has.
        namespace.shell(
            server,
            "mkdir -p /www/cgi-bin; printf '#!/bin/sh\\necho; echo $REMOTE_ADDR\\n' > /www/cgi-bin/peer; \
                                 chmod +x /www/cgi-bin/peer; httpd -p 8080 -h /www",
        )?;
        for client in &clients {
            let url = format!("http://{}:8080/cgi-bin/peer", address(server)?);
            let seen = namespace.shell(client, &format!("timeout 5 wget -q -O - {url}"))?;
            let seen = seen.trim().trim_start_matches("[::ffff:").trim_end_matches(']').to_string();
            ensure!(seen == address(client)?, "{server} saw {client} as {seen}: an address was translated");
        }
    }
    Ok(())
}
