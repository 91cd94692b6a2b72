//! The node daemon dies under load: nobody notices, and what changed meanwhile is right soon after its return.

use anyhow::{Context, Result, ensure};
use keelson_tests::{
    Cluster, Namespace, api,
    cluster::Inside,
    eventually,
    load::{NodeLoad, PodLoad, from_node, from_pod},
    manifest,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::{packets::netns_of, socket_lb};

/// The promise: from the daemon's start until its node's Services are as the API has them.
const RIGHT_AFTER_MAX: Duration = Duration::from_secs(2);

/// Identity and start of every container of the namespace's pods on a node.
fn containers(namespace: &Namespace, node: &str) -> Result<BTreeMap<String, Value>> {
    let pods = namespace.list("pods", "")?;
    let here = pods.iter().filter(|pod| pod["spec"]["nodeName"] == node);
    let state = |pod: &Value| {
        let status = &pod["status"]["containerStatuses"][0];
        json!([status["containerID"], status["restartCount"], status["state"]["running"]["startedAt"]])
    };
    Ok(here
        .map(|pod| (pod["metadata"]["name"].as_str().unwrap_or_default().to_string(), state(pod)))
        .collect())
}

/// Deployments `one` and `two` that answer with their names, and a Service `web` that leads to `one`.
fn deploy(namespace: &Namespace) -> Result<()> {
    namespace.apply_all(&[
        manifest::deployment("one", 3, manifest::answering("one")),
        manifest::deployment("two", 3, manifest::answering("two")),
        manifest::service("web", "one"),
    ])?;
    namespace.ready_pods("app=one", 3)?;
    namespace.ready_pods("app=two", 3)?;
    namespace.endpoints("web", 3).map(drop)
}

#[test]
fn a_killed_daemon_fails_no_request_and_its_successor_catches_up() -> Result<()> {
    const NODE: &str = "n1";
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("daemon")?);
    deploy(&namespace)?;
    namespace.apply_all(&[manifest::on_node(manifest::shell("client"), NODE)])?;
    namespace.ready("client")?;
    let (address, name) = (namespace.cluster_ip("web")?, namespace.dns_name("web"));
    let pods = [
        PodLoad::start(&namespace, "by-address", &format!("http://{address}/"), Some(NODE))?,
        PodLoad::start(&namespace, "by-name", "http://web/", Some(NODE))?,
    ];
    let hosts = [
        NodeLoad::start(&cluster, NODE, &format!("{address}:80"))?,
        NodeLoad::start(&cluster, NODE, &format!("{name}:80"))?,
    ];
    let before = containers(&namespace, NODE)?;

    let killed = cluster.kill_daemon(NODE, "node")?;
    namespace.kubectl(&["patch", "service", "web", "-p", r#"{"spec": {"selector": {"app": "two"}}}"#])?;
    let changed = eventually(Duration::from_secs(20), "the other nodes lead to the new endpoints", || {
        only(&from_node(&cluster, "n2", &format!("{address}:80"), 40)?, "two")
    });
    // The kernel goes on without the daemon, as of the state that it knew last.
    let meanwhile =
        from_node(&cluster, NODE, &format!("{address}:80"), 40).and_then(|count| only(&count, "one"));
    let mut up = cluster.bring_back(NODE, "node", killed)?;
    let back = Instant::now();
    let right = eventually(RIGHT_AFTER_MAX, "the node leads to the new endpoints", || {
        only(&from_node(&cluster, NODE, &format!("{address}:80"), 40)?, "two")
    });
    let took = back.elapsed();
    ensure!(up.wait()?.success(), "xtask up failed");
    println!("right {took:?} after the daemon's start");
    changed?;
    meanwhile.context("while the daemon was dead")?;
    right?;
    only(&from_pod(&namespace, "client", "http://web/", 40)?, "two")?;
    let after = containers(&namespace, NODE)?;

    for load in hosts {
        load.stop()?.all_answered(100).context("from the node")?;
    }
    for load in pods {
        load.stop()?.all_answered(50).context("from a pod of the node")?;
    }
    ensure!(after == before, "containers were restarted: {before:?} became {after:?}");
    Ok(())
}

fn only(count: &keelson_tests::count::Count, answer: &str) -> Result<()> {
    count.all_answered(1)?;
    ensure!(count.answers.keys().eq([answer]), "{:?}", count.answers);
    Ok(())
}

#[test]
fn pods_made_and_deleted_while_the_daemon_was_dead_are_seen_to_on_its_return() -> Result<()> {
    const NODE: &str = "n2";
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("daemon")?);
    namespace.apply_all(&[
        manifest::on_node(manifest::shell("goes"), NODE),
        // One whose sockets are left alone: that stays so, too.
        socket_lb::client("stays", NODE, Some("off")),
    ])?;
    let uid =
        namespace.ready("goes")?["metadata"]["uid"].as_str().context("every pod has a uid")?.to_string();
    namespace.ready("stays")?;
    let stays = containers(&namespace, NODE)?.remove("stays");

    cluster.kill_daemon(NODE, "node")?;
    namespace.kubectl("delete pod goes --wait=false")?;
    namespace.apply_all(&[manifest::on_node(manifest::shell("comes"), NODE)])?;
    cluster.up()?;

    namespace.ready("comes")?;
    eventually(Duration::from_secs(20), "the deleted pod is gone, with its processes", || {
        ensure!(api::find(&namespace.path("pods/goes"))?.is_none(), "the object is there");
        let processes = cluster.pod_processes(NODE, &uid)?;
        ensure!(processes.is_empty(), "{processes:?}");
        Ok(())
    })?;
    ensure!(
        containers(&namespace, NODE)?.remove("stays") == stays,
        "the pod that nobody touched was restarted"
    );
    let api: SocketAddr = "10.96.0.1:443".parse()?;
    let netns = netns_of(&cluster, &namespace.get("pods/stays")?)?;
    {
        let _inside = Inside::enter(&cluster, NODE)?;
        ensure!(socket_lb::connected(&netns, api)? == api, "the pod's sockets are translated");
    }
    // What is written into a container's log while nobody looks is not lost, and exec works again.
    ensure!(namespace.shell("stays", "echo here")?.trim() == "here");
    Ok(())
}
