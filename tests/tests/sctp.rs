//! SCTP Services: associations across nodes, whose packets keep ports and checksum, in both families.

use anyhow::{Context, Result, ensure};
use keelson_tests::{Cluster, Namespace, PATIENCE, eventually, manifest, sctp};
use serde_json::{Value, json};
use std::{collections::BTreeSet, net::SocketAddr};

use crate::{packets::netns_of, services::PROGRAMMED_MAX};

const PORT: u16 = 9_900;

/// Addresses of a Service, of as many families as it has.
pub(crate) fn addresses(service: &Value, port: u16) -> Result<Vec<SocketAddr>> {
    let ips = service["spec"]["clusterIPs"].as_array().context("a Service with addresses")?;
    ips.iter().map(|ip| Ok(SocketAddr::new(ip.as_str().unwrap_or_default().parse()?, port))).collect()
}

#[test]
fn associations_reach_the_pods_of_all_nodes_and_are_answered_by_the_service() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("sctp")?);
    let nodes = cluster.nodes();
    let mut objects: Vec<Value> = vec![json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web" },
        "spec": { "selector": { "app": "web" }, "ipFamilyPolicy": "PreferDualStack",
                  "ports": [{ "port": PORT, "protocol": "SCTP" }] },
    })];
    for node in &nodes {
        let mut pod = manifest::on_node(manifest::shell(&format!("web-{node}")), node);
        pod["metadata"]["labels"] = json!({ "app": "web" });
        objects.push(pod);
    }
    objects.push(manifest::on_node(manifest::shell("client"), &nodes[0]));
    namespace.apply_all(&objects)?;
    let pods = namespace.ready_pods("app=web", nodes.len())?;
    let servers = pods.iter().map(|pod| {
        let name = pod["metadata"]["name"].as_str().context("a name")?;
        sctp::Server::start(&netns_of(&cluster, pod)?, PORT, name)
    });
    let _servers = servers.collect::<Result<Vec<_>>>()?;
    let client = netns_of(&cluster, &namespace.ready("client")?)?;
    let service = namespace.get("services/web")?;
    let mut source_port = 40_000;
    for address in addresses(&service, PORT)? {
        let mut ask = |netns: &str| {
            source_port += 1;
            sctp::ask(netns, source_port, address)
        };
        eventually(PATIENCE, &format!("all answer at {address}"), || {
            let who = (0..30).map(|_| ask(&client)).collect::<Result<BTreeSet<_>>>()?;
            ensure!(who.len() == nodes.len(), "{who:?}");
            Ok(())
        })?;
        // A pod that reaches all, reaches itself.
        let server = netns_of(&cluster, &pods[0])?;
        let who = (0..30).map(|_| ask(&server)).collect::<Result<BTreeSet<_>>>()?;
        ensure!(who.len() == nodes.len(), "from {}: {who:?}", pods[0]["metadata"]["name"]);
    }
    Ok(())
}

#[test]
fn a_port_that_would_have_to_change_is_told_of() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("sctp")?);
    namespace.apply_all(&[
        manifest::shell("web"),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web" },
            "spec": { "selector": { "app": "web" }, "ports": [{ "port": PORT, "targetPort": 9_901, "protocol": "SCTP" }] },
        }),
    ])?;
    let pod = namespace.ready("web")?;
    eventually(PATIENCE, "an event names both ports", || {
        let events = namespace.list("events", "")?;
        let told = |event: &Value| {
            let message = event["message"].as_str().unwrap_or_default();
            event["reason"] == "NotProgrammed"
                && event["involvedObject"]["name"] == "web"
                && message.contains("SCTP: port 9900 differs from targetPort 9901")
        };
        ensure!(events.iter().any(told), "{events:?}");
        Ok(())
    })?;
    // And it is so: without the Event one would wait for ever, too.
    let (netns, service) = (netns_of(&cluster, &pod)?, namespace.get("services/web")?);
    let _server = sctp::Server::start(&netns, 9_901, "web")?;
    for address in addresses(&service, PORT)? {
        ensure!(sctp::ask(&netns, 40_000, address).is_err(), "{address} answers");
    }
    // With its own port it is served.
    let same = json!({ "spec": { "ports": [{ "port": 9_901, "targetPort": 9_901, "protocol": "SCTP" }] } });
    namespace.kubectl(&["patch", "service", "web", "--type=merge", "-p", &same.to_string()])?;
    for address in addresses(&service, 9_901)? {
        eventually(PROGRAMMED_MAX * 2, &format!("{address} answers"), || {
            ensure!(sctp::ask(&netns, 40_001, address)? == "web");
            Ok(())
        })?;
    }
    Ok(())
}
