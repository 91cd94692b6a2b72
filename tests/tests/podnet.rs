//! Pods' addresses: of both families, out of the ranges that the control plane gives the nodes, reached from everywhere.

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use keelson_tests::{Cluster, Namespace, PATIENCE, api, eventually, manifest};
use serde_json::{Value, json};
use std::net::IpAddr;

/// The cluster, if pods have addresses of both families; else it is said why the test does not run.
pub(crate) fn dual() -> Result<Option<Cluster>> {
    let cluster = Cluster::require()?;
    if cluster.ip_family() != "dual" {
        println!("skipped: the cluster's IP family is {}, not dual", cluster.ip_family());
        return Ok(None);
    }
    Ok(Some(cluster))
}

fn ranges(node: &Value) -> Result<Vec<IpNet>> {
    let texts = node["spec"]["podCIDRs"].as_array().context("a Node with podCIDRs")?;
    texts.iter().map(|text| Ok(text.as_str().unwrap_or_default().parse()?)).collect()
}

/// Addresses in a list of objects with one field each: `podIPs`, `hostIPs`.
pub(crate) fn ips(list: &Value, field: &str) -> Result<Vec<IpAddr>> {
    let items = list.as_array().into_iter().flatten();
    items.map(|item| Ok(item[field].as_str().unwrap_or_default().parse()?)).collect()
}

fn internal(node: &Value) -> Result<Vec<IpAddr>> {
    let all = node["status"]["addresses"].as_array().context("a Node with addresses")?;
    let internal: Vec<Value> = all.iter().filter(|of| of["type"] == "InternalIP").cloned().collect();
    ips(&Value::Array(internal), "address")
}

/// As a URL has it.
fn host(address: IpAddr) -> String {
    if address.is_ipv6() { format!("[{address}]") } else { address.to_string() }
}

/// What a server says to a pod.
fn fetched(namespace: &Namespace, pod: &str, host: &str) -> Result<String> {
    namespace.shell(pod, &format!("timeout 5 wget -q -O - http://{host}/"))
}

/// On each of two nodes a server, `web-<node>`, and a shell, `shell-<node>`, all of them Ready.
fn on_two_nodes(cluster: &Cluster, namespace: &Namespace) -> Result<Vec<String>> {
    let nodes: Vec<String> = cluster.nodes().into_iter().take(2).collect();
    let mut objects = Vec::new();
    for node in &nodes {
        let mut web = manifest::on_node(manifest::shell(&format!("web-{node}")), node);
        web["spec"]["containers"] = json!([manifest::answering("$HOSTNAME")]);
        web["metadata"]["labels"] = json!({"app": "web"});
        objects.extend([web, manifest::on_node(manifest::shell(&format!("shell-{node}")), node)]);
    }
    namespace.apply_all(&objects)?;
    for node in &nodes {
        namespace.ready(&format!("web-{node}"))?;
        namespace.ready(&format!("shell-{node}"))?;
    }
    Ok(nodes)
}

#[test]
fn every_node_has_ranges_of_its_own() -> Result<()> {
    let Some(cluster) = dual()? else { return Ok(()) };
    let mut all: Vec<IpNet> = Vec::new();
    for name in cluster.nodes() {
        let node = api::get(&format!("/api/v1/nodes/{name}"))?;
        let ranges = ranges(&node)?;
        ensure!(ranges.len() == 2 && ranges[0].addr().is_ipv4() != ranges[1].addr().is_ipv4(), "{ranges:?}");
        let addresses = internal(&node)?;
        let families: Vec<bool> = addresses.iter().map(IpAddr::is_ipv4).collect();
        ensure!(families == [true, false], "InternalIPs of {name}: {addresses:?}");
        let overlaps = |range: &IpNet| all.iter().any(|other| other.contains(range) || range.contains(other));
        ensure!(!ranges.iter().any(overlaps), "{ranges:?} of {name} are another's, too: {all:?}");
        all.extend(ranges);
    }
    Ok(())
}

#[test]
fn pods_reach_pods_of_every_node_by_both_families() -> Result<()> {
    let Some(cluster) = dual()? else { return Ok(()) };
    let namespace = Namespace::create("podnet")?;
    let nodes = on_two_nodes(&cluster, &namespace)?;
    for server in &nodes {
        let node = api::get(&format!("/api/v1/nodes/{server}"))?;
        let pod = namespace.get(&format!("pods/web-{server}"))?;
        let addresses = ips(&pod["status"]["podIPs"], "ip")?;
        ensure!(addresses.iter().map(IpAddr::is_ipv4).eq([true, false]), "IPv4 first: {}", pod["status"]);
        ensure!(pod["status"]["podIP"] == json!(addresses[0]), "{}", pod["status"]);
        ensure!(ips(&pod["status"]["hostIPs"], "ip")? == internal(&node)?, "{}", pod["status"]);
        let ranges = ranges(&node)?;
        ensure!(
            addresses.iter().all(|of| ranges.iter().any(|range| range.contains(of))),
            "{addresses:?} {ranges:?}"
        );
        for address in addresses {
            let url = host(address);
            for client in &nodes {
                let said = fetched(&namespace, &format!("shell-{client}"), &url)?;
                ensure!(said.trim() == format!("web-{server}"), "{url} told {client}: {said}");
            }
            // A node reaches its pods, and answers come back to it: the source is an address of its own.
            for node in &nodes {
                let said = cluster.enter(node, &["curl", "-s", "-m", "5", &format!("http://{url}/")])?;
                ensure!(said.trim() == format!("web-{server}"), "{url} told node {node}: {said}");
            }
        }
    }
    // The pod knows itself by both addresses.
    let hosts = namespace.shell("shell-n1", "cat /etc/hosts")?;
    let own = ips(&namespace.get("pods/shell-n1")?["status"]["podIPs"], "ip")?;
    ensure!(own.iter().all(|address| hosts.contains(&format!("{address}\tshell-n1"))), "{hosts}");
    Ok(())
}

#[test]
fn services_of_ipv6_are_reached_by_address_and_by_name() -> Result<()> {
    let Some(cluster) = dual()? else { return Ok(()) };
    let namespace = Namespace::create("podnet")?;
    let nodes = on_two_nodes(&cluster, &namespace)?;
    let (mut six, mut both) = (manifest::service("six", "web"), manifest::service("both", "web"));
    six["spec"]["ipFamilies"] = json!(["IPv6"]);
    both["spec"]["ipFamilyPolicy"] = json!("RequireDualStack");
    namespace.apply_all(&[six, both])?;
    let addresses = |service: &str| -> Result<Vec<IpAddr>> {
        let service = namespace.get(&format!("services/{service}"))?;
        let texts = service["spec"]["clusterIPs"].as_array().cloned().unwrap_or_default();
        texts.iter().map(|text| Ok(text.as_str().unwrap_or_default().parse()?)).collect()
    };
    let (six, both) = (addresses("six")?, addresses("both")?);
    ensure!(six.len() == 1 && six[0].is_ipv6() && both.len() == 2, "{six:?} {both:?}");
    for address in six.iter().chain(&both) {
        for node in &nodes {
            let pod = format!("shell-{node}");
            let what = format!("{address} answers {pod}");
            let said = eventually(PATIENCE, &what, || fetched(&namespace, &pod, &host(*address)))?;
            ensure!(said.starts_with("web-"), "{said}");
            let said =
                cluster.enter(node, &["curl", "-s", "-m", "5", &format!("http://{}/", host(*address))])?;
            ensure!(said.starts_with("web-"), "{address} told node {node}: {said}");
        }
    }
    // A name that has an IPv6 address alone.
    let name = namespace.dns_name("six");
    let asked = format!("nslookup -type=AAAA {name}");
    let said = eventually(PATIENCE, "the name has an AAAA record", || {
        let said = namespace.shell("shell-n1", &asked)?;
        ensure!(said.contains(&six[0].to_string()), "{said}");
        Ok(said)
    })?;
    ensure!(fetched(&namespace, "shell-n1", &name)?.starts_with("web-"), "{said}");
    Ok(())
}
