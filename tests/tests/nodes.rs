//! A node dies and comes back: its pods are replaced, and in the end there are as many as were asked for.

use anyhow::{Context, Result, ensure};
use keelson_tests::{Cluster, Namespace, api, eventually, load::from_node, manifest, namespace::is_ready};
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};

/// Grace (10 s) and toleration (5 s) of the test cluster, and then the new pods.
const REPLACED_MAX: Duration = Duration::from_secs(60);

const REPLICAS: usize = 5;

fn node_of(pod: &Value) -> &str {
    pod["spec"]["nodeName"].as_str().unwrap_or_default()
}

/// The node with most pods, and their uids.
fn fullest(pods: &[Value]) -> Result<(String, Vec<String>)> {
    let mut by_node: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for pod in pods {
        by_node
            .entry(node_of(pod))
            .or_default()
            .push(pod["metadata"]["uid"].as_str().unwrap_or_default().into());
    }
    let (node, uids) = by_node.into_iter().max_by_key(|(_, uids)| uids.len()).context("no pod has a node")?;
    Ok((node.to_string(), uids))
}

fn is_node_ready(node: &str) -> Result<bool> {
    Ok(is_ready(&api::get(&format!("/api/v1/nodes/{node}"))?))
}

#[test]
fn pods_of_a_dead_node_are_replaced_and_not_doubled_when_it_returns() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("nodes")?);
    namespace.apply_all(&[
        manifest::deployment("web", REPLICAS as u32, manifest::answering("$HOSTNAME")),
        manifest::service("web", "web"),
    ])?;
    let pods = namespace.ready_pods("app=web", REPLICAS)?;
    let (dead, lost) = fullest(&pods)?;
    let other = cluster.nodes().into_iter().find(|node| *node != dead).context("three nodes")?;
    let target = format!("{}:80", namespace.cluster_ip("web")?);

    cluster.kill_node(&dead)?;
    let replaced = eventually(REPLACED_MAX, "five are Ready on the other nodes", || {
        let pods = namespace.list("pods", "app=web")?;
        let living = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null() && node_of(pod) != dead;
        let ready = pods.iter().filter(living).filter(|pod| is_ready(pod)).count();
        ensure!(!is_node_ready(&dead)?, "{dead} still counts as Ready");
        ensure!(ready == REPLICAS, "{ready} are");
        Ok(pods)
    });
    let served = replaced.as_ref().ok().map(|_| {
        namespace.endpoints("web", REPLICAS)?;
        eventually(Duration::from_secs(5), "the Service leads to the five alone", || {
            from_node(&cluster, &other, &target, 300)?.reached(REPLICAS)
        })
    });
    // Whatever came of it, the next test needs the node.
    cluster.up()?;
    let replaced = replaced?;
    served.transpose()?;
    ensure!(replaced.len() < 2 * REPLICAS, "more pods were made than lost: {}", replaced.len());

    eventually(Duration::from_secs(30), &format!("{dead} is Ready again"), || {
        ensure!(is_node_ready(&dead)?, "it is not");
        Ok(())
    })?;
    let after = namespace.ready_pods("app=web", REPLICAS)?;
    let back = after.iter().filter(|pod| lost.iter().any(|uid| pod["metadata"]["uid"] == *uid)).count();
    ensure!(back == 0, "{back} of the lost pods are there again");
    eventually(Duration::from_secs(30), "no container of a lost pod is left", || {
        for uid in &lost {
            let processes = cluster.pod_processes(&dead, uid)?;
            ensure!(processes.is_empty(), "{uid} has {processes:?}");
        }
        Ok(())
    })?;
    // It is a node like the others again: taken for new pods, and its Services are right.
    namespace.apply_all(&[manifest::on_node(
        manifest::script("returned", "timeout 5 wget -q -O - http://web/"),
        &dead,
    )])?;
    let log = namespace.finished("returned")?;
    ensure!(log.starts_with("web-"), "{log}");
    eventually(Duration::from_secs(10), "its Services are right", || {
        from_node(&cluster, &dead, &target, 300)?.reached(REPLICAS)
    })
}

#[test]
fn a_cordoned_node_gets_no_new_pods() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("nodes")?);
    let node = cluster.nodes().pop().context("three nodes")?;
    keelson_tests::kubectl(&format!("cordon {node}"))?;
    let placed = namespace
        .apply_all(&[manifest::deployment("web", 6, manifest::answering("$HOSTNAME"))])
        .and_then(|_| namespace.ready_pods("app=web", 6));
    keelson_tests::kubectl(&format!("uncordon {node}"))?;
    let placed = placed?;
    ensure!(placed.iter().all(|pod| node_of(pod) != node), "a pod was placed on {node}");
    Ok(())
}
