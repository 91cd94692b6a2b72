//! Services whose backends answer clients outside themselves (direct server return), on several nodes: the first is asked, the
//! others have the endpoints.

use anyhow::{Result, ensure};
use keelson_tests::{
    Cluster, Namespace, PATIENCE, api, eventually, manifest,
    outside::{OUTSIDE_IP, OUTSIDE_IP6, Outside, get_over},
    wires::{Wires, counted},
};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use crate::{
    outside::{answers, at, node_port, web},
    podnet::dual,
    services::PROGRAMMED_MAX,
};

const BALANCED: &str = "203.0.113.18";
/// Verdicts of packets that XDP has sent on.
const SENT: [&str; 2] = ["known", "chosen"];

#[test]
fn the_pods_node_answers_the_client_itself_where_the_service_asks_for_it() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("direct")?);
    let (nodes, mut outside) = (cluster.nodes(), Outside::new(&cluster)?);
    let Some(_wires) = Wires::new(&cluster, &outside)? else { return Ok(()) };
    let (asked, others) = (&nodes[0], &nodes[1..3]);
    let address = cluster.node_address(asked)?;
    outside.route(BALANCED, &address)?;
    let spec = json!({ "type": "LoadBalancer", "loadBalancerClass": "example.org/none" });
    let service = web(&namespace, others, &spec)?;
    let ingress = json!({ "status": { "loadBalancer": { "ingress": [{ "ip": BALANCED }] } } });
    api::merge(&namespace.path("services/web/status"), &ingress)?;
    let mut plain = manifest::service("plain", "web");
    plain["spec"]["type"] = json!("NodePort");
    namespace.apply_all(&[plain])?;
    let plain = at(&address, node_port(&namespace.get("services/plain")?)?)?;
    let servers = [at(BALANCED, 80)?, at(&address, node_port(&service)?)?];
    let pods: BTreeSet<String> = others.iter().map(|node| format!("web-{node}")).collect();
    let seen_by_all = |client: &str| -> BTreeMap<String, BTreeSet<String>> {
        pods.iter().map(|pod| (pod.clone(), BTreeSet::from([client.to_owned()]))).collect()
    };

    // Without the annotation the node that was asked stands between them.
    for server in servers.into_iter().chain([plain]) {
        eventually(PROGRAMMED_MAX, &format!("{server} leads to all"), || {
            let seen = answers(&outside, server, 20)?;
            ensure!(seen == seen_by_all(&address), "{seen:?}");
            Ok(())
        })?;
    }
    let annotation = json!({ "metadata": { "annotations": { "keelson.dev/forwarding": "dsr" } } });
    api::merge(&namespace.path("services/web"), &annotation)?;
    // And with it not even a way back is needed.
    for server in servers {
        eventually(PATIENCE, &format!("{server} is answered by the pods' nodes"), || {
            let seen = answers(&outside, server, 20)?;
            ensure!(seen == seen_by_all(OUTSIDE_IP), "{seen:?}");
            Ok(())
        })?;
    }
    let (before, mode) = counted(asked, &SENT)?;
    ensure!(mode == "native", "{asked} has it {mode}");
    outside.let_answer(asked, false)?;
    for server in servers {
        let seen = answers(&outside, server, 20)?;
        ensure!(seen == seen_by_all(OUTSIDE_IP), "{seen:?}");
    }
    let silent = outside.refusal(plain)?;
    ensure!(silent == io::ErrorKind::TimedOut, "{plain} cannot be answered: {silent:?}");
    // The metrics are of the same packets: a SYN, its acknowledgement, a request, an end at the least.
    eventually(PATIENCE, "the packets are counted", || {
        let (after, _) = counted(asked, &SENT)?;
        ensure!(after >= before + 2 * 20 * 4, "{after} after {before}");
        Ok(())
    })?;
    outside.let_answer(asked, true)?;
    let seen = answers(&outside, plain, 20)?;
    ensure!(seen == seen_by_all(&address), "the other Service is forwarded as before: {seen:?}");
    Ok(())
}

#[test]
fn clients_of_ipv6_are_answered_directly_too() -> Result<()> {
    const BALANCED6: &str = "2001:db8:99::18";
    let Some(cluster) = dual()? else { return Ok(()) };
    let namespace = Namespace::create("direct")?;
    let (nodes, mut outside) = (cluster.nodes(), Outside::new(&cluster)?);
    let Some(_wires) = Wires::new(&cluster, &outside)? else { return Ok(()) };
    let (asked, others) = (&nodes[0], &nodes[1..3]);
    let address = cluster.node_address6(asked)?;
    outside.route(BALANCED6, &address)?;
    let spec =
        json!({ "type": "LoadBalancer", "loadBalancerClass": "example.org/none", "ipFamilies": ["IPv6"] });
    let service = web(&namespace, others, &spec)?;
    let ingress = json!({ "status": { "loadBalancer": { "ingress": [{ "ip": BALANCED6 }] } } });
    api::merge(&namespace.path("services/web/status"), &ingress)?;
    let servers = [at(BALANCED6, 80)?, at(&address, node_port(&service)?)?];
    let seen_by_all = |client: &str| -> BTreeMap<String, BTreeSet<String>> {
        others.iter().map(|node| (format!("web-{node}"), BTreeSet::from([client.to_owned()]))).collect()
    };
    for server in servers {
        eventually(PROGRAMMED_MAX, &format!("{server} leads to all"), || {
            let seen = answers(&outside, server, 20)?;
            ensure!(seen == seen_by_all(&address), "{seen:?}");
            Ok(())
        })?;
    }
    let annotation = json!({ "metadata": { "annotations": { "keelson.dev/forwarding": "dsr" } } });
    api::merge(&namespace.path("services/web"), &annotation)?;
    for server in servers {
        eventually(PATIENCE, &format!("{server} is answered by the pods' nodes"), || {
            let seen = answers(&outside, server, 20)?;
            ensure!(seen == seen_by_all(OUTSIDE_IP6), "{seen:?}");
            Ok(())
        })?;
    }
    let (before, mode) = counted(asked, &SENT)?;
    ensure!(mode == "native", "{asked} has it {mode}");
    outside.let_answer(asked, false)?;
    for server in servers {
        let seen = answers(&outside, server, 20)?;
        ensure!(seen == seen_by_all(OUTSIDE_IP6), "{seen:?}");
    }
    outside.let_answer(asked, true)?;
    eventually(PATIENCE, "the packets are counted", || {
        let (after, _) = counted(asked, &SENT)?;
        ensure!(after >= before + 2 * 20 * 4, "{after} after {before}");
        Ok(())
    })
}

#[test]
fn a_directly_answered_connection_outlives_a_change_of_endpoints() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("direct")?);
    let (nodes, outside) = (cluster.nodes(), Outside::new(&cluster)?);
    let Some(_wires) = Wires::new(&cluster, &outside)? else { return Ok(()) };
    let service = web(&namespace, &nodes[1..3], &json!({ "type": "NodePort" }))?;
    let annotation = json!({ "metadata": { "annotations": { "keelson.dev/forwarding": "dsr" } } });
    api::merge(&namespace.path("services/web"), &annotation)?;
    let server = at(&cluster.node_address(&nodes[0])?, node_port(&service)?)?;
    let [leaver, stayer] = [1, 2].map(|n| format!("web-{}", nodes[n]));
    eventually(PATIENCE, "it is answered directly", || {
        let seen = answers(&outside, server, 20)?;
        let clients: BTreeSet<_> = seen.values().flatten().map(String::as_str).collect();
        ensure!(seen.len() == 2 && clients == BTreeSet::from([OUTSIDE_IP]), "{seen:?}");
        Ok(())
    })?;
    let held = (0..16).map(|_| outside.connect(server)).collect::<Result<Vec<_>>>()?;
    namespace.kubectl(&format!("label pod {leaver} app=other --overwrite"))?;
    namespace.endpoints("web", 1)?;
    eventually(PROGRAMMED_MAX, "new connections go to the other pod", || {
        let seen = answers(&outside, server, 20)?;
        ensure!(seen.keys().eq([&stayer]), "{seen:?}");
        Ok(())
    })?;
    let answered = held.into_iter().map(get_over).collect::<Result<BTreeSet<_>>>()?;
    ensure!(
        answered == BTreeSet::from([leaver, stayer].map(|pod| format!("{pod} {OUTSIDE_IP}"))),
        "{answered:?}"
    );
    Ok(())
}
