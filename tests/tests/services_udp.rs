//! UDP: a client that waits for a dead endpoint hears of it.

use anyhow::{Context, Result, ensure};
use keelson_tests::{
    Cluster, Namespace, PATIENCE, eventually,
    load::{udp_from_node, udp_hold, udp_server},
    manifest,
};
use serde_json::{Value, json};

/// A Service `who` of UDP servers on these nodes.
fn who(cluster: &Cluster, namespace: &Namespace, port: u16, nodes: &[&str]) -> Result<()> {
    let endpoint = |node: &&str| {
        Ok(json!({ "addresses": [cluster.node_address(node)?], "conditions": { "ready": true } }))
    };
    let endpoints = nodes.iter().map(endpoint).collect::<Result<Vec<Value>>>()?;
    namespace.apply_all(&[
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "who" },
                "spec": { "ports": [{ "port": 77, "protocol": "UDP", "targetPort": port }] } }),
        json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": { "name": "who-1", "labels": { "kubernetes.io/service-name": "who" } },
                "addressType": "IPv4", "endpoints": endpoints, "ports": [{ "port": port, "protocol": "UDP" }] }),
    ])?;
    Ok(())
}

#[test]
fn a_client_of_a_dead_udp_endpoint_is_woken_in_the_node_and_in_pods() -> Result<()> {
    const PORT: u16 = 7078;
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("services")?);
    let nodes = ["n2", "n3"];
    let _servers =
        nodes.map(|node| udp_server(&cluster, node, PORT)).into_iter().collect::<Result<Vec<_>>>()?;
    who(&cluster, &namespace, PORT, &nodes)?;
    namespace.apply_all(&[manifest::on_node(manifest::shell("client"), "n1")])?;
    let pod = namespace.ready("client")?;
    let uid = pod["metadata"]["uid"].as_str().context("a pod has a uid")?;
    let process = cluster.pod_processes("n1", uid)?.first().context("the pod runs")?.0.as_raw();
    let target = format!("{}:77", namespace.cluster_ip("who")?);
    eventually(PATIENCE, "both answer", || udp_from_node(&cluster, "n1", &target, 40)?.reached(2))?;

    for namespace_of in [None, Some(process)] {
        let mut client = udp_hold(&cluster, "n1", namespace_of, &target)?;
        let first = client.line(PATIENCE, |line| line.starts_with("answer "))?;
        let left: Vec<&str> = nodes.into_iter().filter(|node| !first.ends_with(node)).collect();
        ensure!(left.len() == 1, "{first}");
        who(&cluster, &namespace, PORT, &left)?;
        client.line(PATIENCE, |line| line == "ended ConnectionAborted")?;
        client.line(PATIENCE, |line| line == format!("answer {}", left[0]))?;
        who(&cluster, &namespace, PORT, &nodes)?;
        eventually(PATIENCE, "both answer again", || udp_from_node(&cluster, "n1", &target, 40)?.reached(2))?;
    }
    Ok(())
}
