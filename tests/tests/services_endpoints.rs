//! Which endpoints there are, by what their pods are up to: unready, about to go, of this node.

use anyhow::{Context, Result, ensure};
use keelson_tests::{Cluster, Namespace, PATIENCE, api, eventually, load::from_node, manifest};
use serde_json::{Value, json};

use crate::services::PROGRAMMED_MAX;

/// Serves on for a while when it is told to end.
fn slow_to_go(name: &str, node: &str) -> Value {
    let mut pod = manifest::on_node(manifest::shell(name), node);
    let mut container = manifest::answering("$HOSTNAME");
    container["lifecycle"] = json!({ "preStop": { "exec": { "command": ["sleep", "1000"] } } });
    pod["spec"]["containers"] = json!([container]);
    pod["spec"]["terminationGracePeriodSeconds"] = 1000.into();
    pod["metadata"]["labels"] = json!({ "app": "web" });
    pod
}

/// Who answers each node, of so many.
fn answered_by(cluster: &Cluster, target: &str, names: &[&str]) -> Result<()> {
    for node in cluster.nodes() {
        eventually(PROGRAMMED_MAX, &format!("{node} is answered by {names:?}"), || {
            let count = from_node(cluster, &node, target, 30)?;
            count.all_answered(30)?;
            ensure!(count.answers.keys().eq(names), "{:?}", count.answers);
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn who_is_about_to_go_is_asked_only_while_nobody_else_is_there() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("services")?);
    namespace.apply_all(&[slow_to_go("first", "n1"), manifest::service("web", "web")])?;
    namespace.ready("first")?;
    namespace.endpoints("web", 1)?;
    let target = format!("{}:80", namespace.cluster_ip("web")?);
    answered_by(&cluster, &target, &["first"])?;
    namespace.kubectl("delete pod first --wait=false")?;
    // Terminating, and not ready any more.
    namespace.endpoints("web", 0)?;
    answered_by(&cluster, &target, &["first"])?;
    namespace.apply_all(&[slow_to_go("second", "n2")])?;
    namespace.ready("second")?;
    namespace.endpoints("web", 1)?;
    answered_by(&cluster, &target, &["second"])?;
    namespace.kubectl("delete pod first second --grace-period=0 --force")?;
    Ok(())
}

#[test]
fn unready_pods_are_asked_where_the_service_publishes_them() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("services")?);
    let mut pod = manifest::on_node(manifest::shell("web"), "n2");
    let mut container = manifest::answering("$HOSTNAME");
    container["readinessProbe"] = json!({ "exec": { "command": ["false"] }, "periodSeconds": 1 });
    pod["spec"]["containers"] = json!([container]);
    namespace.apply_all(&[pod, manifest::service("web", "web")])?;
    eventually(PATIENCE, "the pod runs", || {
        let status = namespace.get("pods/web")?["status"].take();
        ensure!(status["phase"] == "Running" && status["podIP"].is_string(), "{status}");
        Ok(())
    })?;
    let target = format!("{}:80", namespace.cluster_ip("web")?);
    eventually(PATIENCE, "it is nobody's endpoint", || {
        let count = from_node(&cluster, "n1", &target, 1)?;
        ensure!(count.failures.iter().any(|failure| failure.contains("refused")), "{count:?}");
        Ok(())
    })?;
    let publish = json!({ "spec": { "publishNotReadyAddresses": true } });
    api::merge(&namespace.path("services/web"), &publish)?;
    namespace.endpoints("web", 1)?;
    answered_by(&cluster, &target, &["web"])
}

#[test]
fn traffic_is_distributed_to_the_same_node_where_the_service_prefers_it() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("services")?);
    let nodes = cluster.nodes();
    let mut service = manifest::service("web", "web");
    service["spec"]["trafficDistribution"] = "PreferSameNode".into();
    let mut objects = vec![service];
    for node in &nodes[..2] {
        let mut pod = manifest::on_node(manifest::shell(&format!("web-{node}")), node);
        pod["spec"]["containers"] = json!([manifest::answering("$HOSTNAME")]);
        pod["metadata"]["labels"] = json!({ "app": "web" });
        objects.push(pod);
    }
    namespace.apply_all(&objects)?;
    namespace.ready_pods("app=web", 2)?;
    namespace.endpoints("web", 2)?;
    let target = format!("{}:80", namespace.cluster_ip("web")?);
    let all: Vec<String> = nodes[..2].iter().map(|node| format!("web-{node}")).collect();
    for node in &nodes {
        // A node without an endpoint asks all.
        let own = format!("web-{node}");
        let wanted = if all.contains(&own) { vec![own] } else { all.clone() };
        eventually(PATIENCE, &format!("{node} asks {wanted:?}"), || {
            let count = from_node(&cluster, node, &target, 40)?;
            count.all_answered(40).context("of 40")?;
            ensure!(count.answers.keys().eq(&wanted), "{:?}", count.answers);
            Ok(())
        })?;
    }
    Ok(())
}
