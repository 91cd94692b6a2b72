//! Services by what outsiders use, from inside: node ports, external and load balancer addresses, health checks.

use anyhow::{Context, Result, ensure};
use keelson_tests::{
    Cluster, Namespace, PATIENCE, api, eventually,
    load::{bind_on_node, from_node, from_pod, udp_server},
    manifest,
};
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::TcpStream,
};

use crate::services::{PROGRAMMED_MAX, clients, web};

/// Applies `spec` over that of the Service `web`.
fn change(namespace: &Namespace, spec: &Value) -> Result<Value> {
    api::merge(&namespace.path("services/web"), &json!({ "spec": spec }))?;
    namespace.get("services/web")
}

fn node_port(service: &Value) -> Result<u64> {
    service["spec"]["ports"][0]["nodePort"].as_u64().context("a Service without node port")
}

#[test]
fn a_node_port_is_reached_at_the_nodes_address_and_by_the_node_itself_on_loopback() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("services")?);
    web(&cluster, &namespace, 3)?;
    let port = node_port(&change(&namespace, &json!({ "type": "NodePort" }))?)?;
    for node in clients(&cluster, &namespace)? {
        let address = cluster.node_address(&node)?;
        for host in [address.as_str(), "127.0.0.1", "[::ffff:127.0.0.1]"] {
            eventually(PROGRAMMED_MAX, &format!("{node} reaches {host}:{port}"), || {
                from_node(&cluster, &node, &format!("{host}:{port}"), 60)?.reached(3)
            })?;
        }
        from_pod(&namespace, &node, &format!("http://{address}:{port}/"), 60)?.reached(3)?;
        let own =
            namespace.shell(&node, &format!("timeout 5 wget -O - http://127.0.0.1:{port}/ 2>&1 || true"))?;
        ensure!(own.contains("onnection refused"), "a pod's loopback is its own: {own}");
    }
    // Back to a cluster address: the port is nobody's again.
    change(&namespace, &json!({ "type": "ClusterIP" }))?;
    eventually(PROGRAMMED_MAX, "nobody answers", || {
        let count = from_node(&cluster, "n1", &format!("127.0.0.1:{port}"), 1)?;
        ensure!(count.failures.len() == 1, "{:?}", count.answers);
        Ok(())
    })
}

#[test]
fn a_node_port_is_nobodys_to_bind_and_who_had_it_first_is_told_of() -> Result<()> {
    // Of the band that is not given out without being asked for.
    const HAD: u16 = 30_061;
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("services")?);
    let _first = udp_server(&cluster, "n2", HAD)?;
    namespace.apply_all(&[json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"type": "NodePort", "ports": [
            {"name": "tcp", "port": 80}, {"name": "udp", "port": 81, "protocol": "UDP", "nodePort": HAD}]},
    })])?;
    let port = node_port(&namespace.get("services/web")?)?;
    for address in ["0.0.0.0", "127.0.0.1", "[::]"] {
        eventually(PROGRAMMED_MAX, &format!("{address}:{port} is in use"), || {
            let said = bind_on_node(&cluster, "n1", "tcp", &format!("{address}:{port}"))?;
            ensure!(said == "AddrInUse", "{said}");
            Ok(())
        })?;
    }
    ensure!(
        bind_on_node(&cluster, "n1", "udp", &format!("0.0.0.0:{port}"))? == "bound",
        "the other protocol"
    );
    eventually(PATIENCE, "an event names the node port that a process of n2 had", || {
        let events = namespace.list("events", "")?;
        let told = |event: &Value| {
            event["reason"] == "NodePortInUse"
                && event["involvedObject"]["name"] == "web"
                && event["message"].as_str().unwrap_or_default().contains(&HAD.to_string())
        };
        ensure!(events.iter().any(told), "{events:?}");
        Ok(())
    })?;
    namespace.kubectl("delete service web")?;
    eventually(PROGRAMMED_MAX, "the port is free", || {
        let said = bind_on_node(&cluster, "n1", "tcp", &format!("0.0.0.0:{port}"))?;
        ensure!(said == "bound", "{said}");
        Ok(())
    })
}

#[test]
fn external_and_load_balancer_addresses_lead_to_the_endpoints() -> Result<()> {
    const EXTERNAL: &str = "198.51.100.7";
    const BALANCED: &str = "203.0.113.7";
    const PROXIED: &str = "203.0.113.8";
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("services")?);
    web(&cluster, &namespace, 3)?;
    // A class of nobody's: the addresses below are ours to give.
    change(
        &namespace,
        &json!({ "type": "LoadBalancer", "loadBalancerClass": "example.org/none", "externalIPs": [EXTERNAL],
                 "externalTrafficPolicy": "Local" }),
    )?;
    let ingress = json!([{ "ip": BALANCED }, { "ip": PROXIED, "ipMode": "Proxy" }]);
    let status = json!({ "status": { "loadBalancer": { "ingress": ingress } } });
    api::merge(&namespace.path("services/web/status"), &status)?;
    for node in clients(&cluster, &namespace)? {
        for address in [EXTERNAL, BALANCED] {
            // All endpoints: policy Local is for those who come from outside.
            eventually(PROGRAMMED_MAX, &format!("{node} reaches {address}"), || {
                from_node(&cluster, &node, &format!("{address}:80"), 60)?.reached(3)
            })?;
            from_pod(&namespace, &node, &format!("http://{address}/"), 60)?.reached(3)?;
        }
        let count = from_node(&cluster, &node, &format!("{PROXIED}:80"), 1)?;
        ensure!(count.failures.len() == 1, "its traffic is the proxy's: {:?}", count.answers);
    }
    Ok(())
}

#[test]
fn internal_policy_local_keeps_cluster_addresses_to_the_node() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("services")?);
    let pod = manifest::on_node(
        manifest::script("web", "mkdir /www; echo here > /www/index.html; exec httpd -f -p 80 -h /www"),
        "n1",
    );
    namespace.apply_all(&[pod, manifest::service("web", "web")])?;
    namespace.ready("web")?;
    namespace.endpoints("web", 1)?;
    let service = change(&namespace, &json!({ "type": "NodePort", "internalTrafficPolicy": "Local" }))?;
    let (cluster_ip, port) = (namespace.cluster_ip("web")?, node_port(&service)?);
    for node in cluster.nodes() {
        eventually(PROGRAMMED_MAX, &format!("{node} goes by the policy"), || {
            let count = from_node(&cluster, &node, &format!("{cluster_ip}:80"), 5)?;
            if node == "n1" {
                return count.all_answered(5);
            }
            let refused = count.failures.iter().filter(|failure| failure.contains("refused")).count();
            ensure!(refused == 5, "{:?} {:?}", count.answers, count.failures);
            Ok(())
        })?;
        let outside = format!("{}:{port}", cluster.node_address(&node)?);
        eventually(PATIENCE, &format!("{node} reaches {outside}"), || {
            from_node(&cluster, &node, &outside, 5)?.all_answered(5)
        })?;
    }
    Ok(())
}

#[test]
fn a_health_check_says_which_nodes_have_endpoints() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("services")?);
    let pod = manifest::on_node(manifest::script("web", "mkdir /www; exec httpd -f -p 80 -h /www"), "n2");
    let mut service = manifest::service("web", "web");
    service["spec"]["type"] = "LoadBalancer".into();
    service["spec"]["loadBalancerClass"] = "example.org/none".into();
    service["spec"]["externalTrafficPolicy"] = "Local".into();
    namespace.apply_all(&[pod, service])?;
    namespace.ready("web")?;
    let port = namespace.get("services/web")?["spec"]["healthCheckNodePort"].as_u64();
    let port = port.context("a Service without healthCheckNodePort")?;
    let check = |of: &str| -> Result<Result<Value, String>> {
        let count = from_node(&cluster, "n1", &format!("{}:{port}", cluster.node_address(of)?), 1)?;
        Ok(match count.answers.keys().next() {
            Some(body) => Ok(serde_json::from_str(body)?),
            None => Err(count.failures.join("; ")),
        })
    };
    eventually(PATIENCE, "n2 is well", || {
        let body = check("n2")?.map_err(anyhow::Error::msg)?;
        ensure!(body["localEndpoints"] == 1 && body["service"]["name"] == "web", "{body}");
        ensure!(body["serviceProxyHealthy"] == true, "{body}");
        Ok(())
    })?;
    for node in ["n1", "n3"] {
        eventually(PROGRAMMED_MAX, &format!("{node} has none"), || {
            let said = check(node)?;
            ensure!(said.as_ref().is_err_and(|text| text.contains("503")), "{said:?}");
            Ok(())
        })?;
    }
    namespace.kubectl("delete pod web --wait=false")?;
    eventually(PATIENCE, "n2 has none any more", || {
        let said = check("n2")?;
        ensure!(said.as_ref().is_err_and(|text| text.contains("503")), "{said:?}");
        Ok(())
    })?;
    namespace.kubectl("delete service web")?;
    eventually(PATIENCE, "nobody listens", || {
        let said = check("n2")?;
        ensure!(said.as_ref().is_err_and(|text| text.contains("refused")), "{said:?}");
        Ok(())
    })
}

#[test]
fn the_data_plane_of_each_node_says_that_it_is_well() -> Result<()> {
    let cluster = Cluster::require()?;
    for node in cluster.nodes() {
        let mut stream = TcpStream::connect((cluster.node_address(&node)?, 10256))?;
        stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").context("an answer with a body")?;
        let body: Value = serde_json::from_str(body)?;
        ensure!(head.contains(" 200 ") && body["nodeEligible"] == true, "{text}");
    }
    Ok(())
}
