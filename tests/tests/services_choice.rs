//! Which endpoint: by hints, and by session affinity.

use anyhow::{Context, Result, ensure};
use keelson_tests::{Cluster, Namespace, PATIENCE, eventually, kubectl, load::from_node};
use serde_json::{Value, json};
use std::time::Duration;

use crate::services::{PROGRAMMED_MAX, web};

const ZONE: &str = "topology.kubernetes.io/zone";

/// Zones of nodes, taken away again after the test.
struct Zones(Vec<String>);

impl Zones {
    fn set(zones: &[(&str, &str)]) -> Result<Zones> {
        let mut set = Zones(Vec::new());
        for (node, zone) in zones {
            set.0.push((*node).to_string());
            kubectl(&format!("label --overwrite node {node} {ZONE}={zone}"))?;
        }
        Ok(set)
    }
}

impl Drop for Zones {
    fn drop(&mut self) {
        for node in &self.0 {
            if let Err(error) = kubectl(&format!("label node {node} {ZONE}-")) {
                eprintln!("node {node} keeps its zone: {error:#}");
            }
        }
    }
}

/// A Service `hinted` without selector, and its slice: the pods of `web`, each with its hints.
fn hinted(namespace: &Namespace, pods: &[Value], hints: &[Value]) -> Result<()> {
    let endpoint = |(pod, hints): (&Value, &Value)| {
        json!({ "addresses": [pod["status"]["podIP"]], "nodeName": pod["spec"]["nodeName"],
                "conditions": { "ready": true }, "hints": hints })
    };
    let endpoints: Vec<Value> = pods.iter().zip(hints).map(endpoint).collect();
    namespace.apply_all(&[
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "hinted" },
                "spec": { "ports": [{ "port": 80 }] } }),
        json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": { "name": "hinted-1", "labels": { "kubernetes.io/service-name": "hinted" } },
                "addressType": "IPv4", "endpoints": endpoints, "ports": [{ "port": 80 }] }),
    ])?;
    Ok(())
}

fn names(pods: &[Value]) -> Result<Vec<String>> {
    let name = |pod: &Value| pod["metadata"]["name"].as_str().map(str::to_string);
    pods.iter().map(|pod| name(pod).context("every pod has a name")).collect()
}

#[test]
fn hints_keep_connections_to_the_zone_or_the_node_when_all_endpoints_have_one() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("services")?);
    web(&cluster, &namespace, 3)?;
    let pods = namespace.ready_pods("app=web", 3)?;
    let names = names(&pods)?;
    let _zones = Zones::set(&[("n1", "one"), ("n2", "two")])?;
    let zone = |name: &str| json!({ "forZones": [{ "name": name }] });
    let of_node = |name: &str| json!({ "forNodes": [{ "name": name }] });
    let all = [0, 1, 2].as_slice();
    // Each node's endpoints, in the order of the nodes; n3 has no zone.
    type Row<'a> = (&'a str, [Value; 3], [&'a [usize]; 3]);
    let rows: [Row<'_>; 4] = [
        ("zones", [zone("one"), zone("two"), zone("two")], [&[0], &[1, 2], all]),
        ("one without", [zone("one"), zone("two"), json!({})], [all, all, all]),
        ("nodes", [of_node("n1"), of_node("n1"), of_node("n3")], [&[0, 1], all, &[2]]),
        ("none for here", [zone("x"), zone("x"), zone("two")], [all, &[2], all]),
    ];
    for (row, hints, wanted) in rows {
        hinted(&namespace, &pods, &hints)?;
        let target = format!("{}:80", namespace.cluster_ip("hinted")?);
        for (node, wanted) in cluster.nodes().iter().zip(wanted) {
            let mut wanted: Vec<_> = wanted.iter().map(|&n| names[n].clone()).collect();
            wanted.sort();
            eventually(PATIENCE, &format!("{row}: {node} connects to {wanted:?}"), || {
                let count = from_node(&cluster, node, &target, 60)?;
                count.all_answered(60)?;
                ensure!(count.answers.keys().eq(&wanted), "{:?}", count.answers);
                Ok(())
            })?;
        }
    }
    Ok(())
}

#[test]
fn a_client_stays_with_its_endpoint_until_that_dies_or_time_runs_out() -> Result<()> {
    const TIMEOUT: Duration = Duration::from_secs(1);
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("services")?);
    web(&cluster, &namespace, 3)?;
    let affinity = |seconds: u64| {
        let spec = json!({ "sessionAffinity": "ClientIP",
                           "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": seconds } } });
        namespace.kubectl(&[
            "patch",
            "service",
            "web",
            "--type=merge",
            "-p",
            &json!({ "spec": spec }).to_string(),
        ])
    };
    affinity(600)?;
    let target = format!("{}:80", namespace.cluster_ip("web")?);
    let held = |number: u32| -> Result<String> {
        let count = from_node(&cluster, "n1", &target, number)?;
        count.reached(1)?;
        count.answers.into_keys().next().context("somebody answered")
    };
    let first = eventually(PROGRAMMED_MAX, "the client is held", || held(40))?;
    ensure!(held(40)? == first);
    namespace.kubectl(&format!("delete pod {first} --wait=false"))?;
    let second = eventually(PATIENCE, "the client is held by another", || {
        let now = held(40)?;
        ensure!(now != first, "{now} is going");
        Ok(now)
    })?;
    ensure!(held(40)? == second);

    affinity(TIMEOUT.as_secs())?;
    // Time itself is what is waited for: after each pause the choice of three is free.
    let mut seen = vec![];
    for _ in 0..24 {
        std::thread::sleep(TIMEOUT + Duration::from_millis(100));
        seen.push(held(1)?);
        if *seen.last().expect("just pushed") != second {
            return Ok(());
        }
    }
    anyhow::bail!("after every timeout {second} again: {seen:?}")
}
