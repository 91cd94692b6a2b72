//! What the kernel measures of Services, as a user sees it: `kubectl keelson`, Prometheus' metrics, through the API server.

use anyhow::{Context, Result, ensure};
use keelson_tests::{
    Cluster, Namespace, PATIENCE, eventually,
    kubectl::{Answer, kubectl, plugin, run},
    load::{from_node, from_pod},
    manifest,
    stream::Stream,
};
use serde_json::{Value, json};
use std::time::Duration;

/// `kubectl keelson` in a namespace, which has to succeed; answers what it printed.
fn keelson(namespace: &Namespace, words: &str) -> Result<String> {
    let Answer { stdout, stderr, code } = run(plugin(&format!("-n {} {words}", namespace.name))?, None)?;
    ensure!(code == Some(0), "`kubectl keelson {words}` ended with {code:?}:\n{stdout}{stderr}");
    Ok(stdout)
}

/// The JSON rows of `services`.
fn rows(namespace: &Namespace) -> Result<Vec<Value>> {
    let text = keelson(namespace, "services -o json")?;
    serde_json::from_str(&text).with_context(|| format!("not a list: {text}"))
}

fn sum(rows: &[Value], service: &str, field: &str) -> u64 {
    let of_service = rows.iter().filter(|row| row["service"] == service);
    of_service.filter_map(|row| row[field].as_u64()).sum()
}

/// A Service of `replicas` pods and a client pod on n1.
fn web(namespace: &Namespace, replicas: u32) -> Result<()> {
    namespace.apply_all(&[
        manifest::deployment("web", replicas, manifest::answering("$HOSTNAME")),
        manifest::service("web", "web"),
        manifest::on_node(manifest::shell("client"), "n1"),
    ])?;
    namespace.endpoints("web", replicas as usize)?;
    namespace.ready("client")?;
    eventually(PATIENCE, "the pod reaches the Service", || {
        from_pod(namespace, "client", "http://web/", 1)?.all_answered(1)
    })
}

#[test]
fn every_connection_is_counted_once_by_service_and_backend_and_outlives_the_daemon() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("observe")?);
    web(&namespace, 2)?;
    let before = sum(&rows(&namespace)?, "web", "connections");
    from_pod(&namespace, "client", "http://web/", 100)?.all_answered(100)?;
    let target = format!("{}:80", namespace.cluster_ip("web")?);
    from_node(&cluster, "n2", &target, 50)?.all_answered(50)?;
    let counted = eventually(PATIENCE, "150 more connections have ended", || {
        let rows = rows(&namespace)?;
        let (now, open) = (sum(&rows, "web", "connections"), sum(&rows, "web", "open"));
        ensure!(now - before == 150 && open == 0, "{now} after {before}, {open} open");
        Ok(rows)
    })?;
    ensure!(counted.len() == 2, "a row a backend: {counted:#?}");
    for row in &counted {
        let (p50, p99) =
            (row["connect_p50_ns"].as_u64().unwrap_or(0), row["connect_p99_ns"].as_u64().unwrap_or(0));
        ensure!(p50 > 1_000 && p50 <= p99 && p99 < 5_000_000_000, "{row:#}");
        ensure!(row["received_bytes"].as_u64() > Some(0) && row["sent_bytes"].as_u64() > Some(0), "{row:#}");
    }
    let table = keelson(&namespace, "services")?;
    ensure!(table.lines().count() == 2 && table.contains("P99") && table.contains("web"), "{table}");
    ensure!(keelson(&namespace, "services web -o wide")?.lines().count() == 3);

    let total = sum(&counted, "web", "connections");
    let killed = cluster.kill_daemon("n1", "node")?;
    from_node(&cluster, "n1", &target, 20)?.all_answered(20)?;
    let mut up = cluster.bring_back("n1", "node", killed)?;
    eventually(PATIENCE, "the totals and what came meanwhile are there", || {
        let now = sum(&rows(&namespace)?, "web", "connections");
        ensure!(now == total + 20, "{now} after {total}");
        Ok(())
    })?;
    ensure!(up.wait()?.success());
    Ok(())
}

#[test]
fn a_service_without_endpoints_and_a_dead_one_show_as_failures() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("observe")?);
    namespace.apply_all(&[manifest::service("nobody", "nobody")])?;
    let target = format!("{}:80", namespace.cluster_ip("nobody")?);
    eventually(PATIENCE, "the refusal is counted", || {
        from_node(&cluster, "n1", &target, 1)?;
        let rows = rows(&namespace)?;
        ensure!(sum(&rows, "nobody", "refused") > 0, "{rows:?}");
        Ok(())
    })
}

#[test]
fn flows_are_told_while_somebody_listens() -> Result<()> {
    let namespace = Namespace::create("observe")?;
    web(&namespace, 1)?;
    let mut flows = Stream::start(plugin(&format!("-n {} flows --service web", namespace.name))?)?;
    // The listener is there when it tells of a connection; those before it are not repeated.
    eventually(PATIENCE, "a connection is told of", || {
        from_pod(&namespace, "client", "http://web/", 1)?.all_answered(1)?;
        let line = flows.line(Duration::from_secs(2), |line| line.contains("opened"))?;
        ensure!(line.starts_with("n1 ") && line.contains(&format!("-> {}/web", namespace.name)), "{line}");
        flows.line(Duration::from_secs(2), |line| line.contains("closed") && line.contains("received"))
    })?;
    Ok(())
}

#[test]
fn a_trace_says_where_a_connection_would_go() -> Result<()> {
    let namespace = Namespace::create("observe")?;
    web(&namespace, 2)?;
    namespace.apply_all(&[manifest::service("nobody", "nobody")])?;
    let backends = namespace.endpoints("web", 2)?;
    let said = keelson(&namespace, "trace client web")?;
    ensure!(said.contains("on node n1") && backends.iter().all(|ip| said.contains(ip)), "{said}");
    eventually(PATIENCE, "the node knows of the Service without endpoints", || {
        let said = keelson(&namespace, "trace client nobody")?;
        ensure!(said.contains("ECONNREFUSED"), "{said}");
        Ok(())
    })
}

#[test]
fn a_trace_to_a_pod_says_which_policy_lets_or_denies() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("observe")?);
    // On another node, if there is one.
    let nodes = cluster.nodes();
    let there = nodes.last().context("a cluster without a node")?;
    let mut server = manifest::on_node(manifest::shell("server"), there);
    server["metadata"]["labels"] = json!({"app": "server"});
    let (name, friend) = ("stranger", "friend");
    namespace.apply_all(&[
        server,
        manifest::on_node(manifest::shell(name), "n1"),
        manifest::on_node(manifest::shell(friend), "n1"),
    ])?;
    ["server", name, friend].iter().try_for_each(|pod| namespace.ready(pod).map(drop))?;
    let said = keelson(&namespace, "trace stranger server --port 80")?;
    ensure!(said.contains("is open") && said.contains("Nothing that the nodes enforce stops it"), "{said}");
    let way = if there == "n1" { "straight into" } else { "next hop" };
    ensure!(said.contains(way) && said.contains(&format!("on node {there}")), "{said}");

    namespace.apply_all(&[json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "friends-only"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "server"}},
            "policyTypes": ["Ingress"],
            "ingress": [{
                "from": [{"podSelector": {"matchLabels": {"is": "friend"}}}],
                "ports": [{"port": 80}],
            }],
        },
    })])?;
    namespace.kubectl(&["label", "pod", friend, "is=friend"])?;
    eventually(PATIENCE, "the stranger is denied", || {
        let said = keelson(&namespace, "trace stranger server --port 80")?;
        ensure!(said.contains("DENIED") && said.contains("selected by friends-only"), "{said}");
        ensure!(said.contains("counted as policy_ingress"), "{said}");
        Ok(())
    })?;
    eventually(PATIENCE, "the friend is let in", || {
        let said = keelson(&namespace, "trace friend server --port 80")?;
        ensure!(said.contains("may have TCP 80 with pods") && said.contains("let by friends-only"), "{said}");
        ensure!(said.contains("Nothing that the nodes enforce stops it"), "{said}");
        Ok(())
    })?;
    let said = keelson(&namespace, "trace friend server --port 81 -o json")?;
    let answers: Value = serde_json::from_str(&said).with_context(|| said.clone())?;
    let ingress = answers[0]["nodes"].as_array().and_then(|nodes| Some(&nodes.last()?["ingress"]));
    ensure!(ingress.is_some_and(|judged| judged["verdict"] == "denied"), "{said}");
    Ok(())
}

#[test]
fn status_maps_and_metrics_are_there_for_every_node() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("observe")?);
    web(&namespace, 1)?;
    let (status, maps) = (keelson(&namespace, "status")?, keelson(&namespace, "maps")?);
    for node in cluster.nodes() {
        ensure!(status.lines().any(|line| line.starts_with(&node) && line.contains("yes")), "{status}");
        ensure!(maps.lines().any(|line| line.starts_with(&node) && line.contains("TOTALS")), "{maps}");
    }
    eventually(PATIENCE, "Prometheus' text has the Service's histogram", || {
        let text = kubectl("get --raw /api/v1/nodes/n1/proxy/metrics")?;
        let labels = format!("namespace=\"{}\",service=\"web\",port=\"80\",protocol=\"TCP\"", namespace.name);
        let count = format!("keelson_service_connect_seconds_count{{{labels}}}");
        ensure!(text.lines().any(|line| line.starts_with(&count) && !line.ends_with(" 0")), "{text}");
        Ok(())
    })
}

#[test]
fn who_may_not_get_nodes_proxy_sees_nothing() -> Result<()> {
    let namespace = Namespace::create("observe")?;
    let words = format!(
        "--as=system:serviceaccount:{}:default get --raw /api/v1/nodes/n1/proxy/keelson/services",
        namespace.name
    );
    let said = keelson_tests::refused(&words, None)?;
    ensure!(said.contains("orbidden"), "{said}");
    Ok(())
}
