//! `kubectl debug`: into a pod that runs, into a copy of it, onto its node.

use anyhow::{Context, Result, ensure};
use keelson_tests::{Cluster, Namespace, PATIENCE, eventually, manifest, stream::Stream};
use serde_json::{Value, json};
use std::time::Duration;

/// For one line to come through.
const SOON: Duration = Duration::from_secs(10);
const IMAGE: &str = "--image=busybox:1.35";

fn ephemeral<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let all = pod["status"]["ephemeralContainerStatuses"].as_array();
    all.into_iter().flatten().find(|status| status["name"] == name).unwrap_or(&Value::Null)
}

#[test]
fn a_running_pod_is_looked_into_and_left_as_it_was() -> Result<()> {
    let namespace = Namespace::create("debug")?;
    namespace.apply_all(&[manifest::shell("one")])?;
    let before = namespace.ready("one")?;
    let words = ["debug", "-i", "one", IMAGE, "--target=main", "-c", "look", "--", "sh"];
    let mut shell = Stream::start(namespace.command(&words)?)?;
    // The processes of the container, not the debugger's own alone. Lines sent before kubectl is attached are lost.
    eventually(PATIENCE, "the debugger runs", || {
        let pod = namespace.get("pods/one")?;
        ensure!(ephemeral(&pod, "look")["state"]["running"].is_object(), "{}", pod["status"]);
        Ok(())
    })?;
    shell.write("tr '\\0' ' ' < /proc/1/cmdline; echo; echo said > /proc/1/root/tmp/note\n")?;
    shell.line(SOON, |line| line.contains("sleep 1000000"))?;
    ensure!(namespace.shell("one", "cat /tmp/note")?.trim() == "said", "it sees the files of its target");
    shell.write("exit 3\n")?;
    shell.end(PATIENCE)?;
    let pod = eventually(PATIENCE, "the debugger's end is told", || {
        let pod = namespace.get("pods/one")?;
        ensure!(ephemeral(&pod, "look")["state"]["terminated"]["exitCode"] == 3, "{}", pod["status"]);
        Ok(pod)
    })?;
    ensure!(ephemeral(&pod, "look")["restartCount"] == 0, "{}", pod["status"]);
    let own = |pod: &Value| pod["status"]["containerStatuses"][0]["containerID"].clone();
    ensure!(own(&pod) == own(&before), "the pod's own container was replaced");
    let generation = |pod: &Value| pod["metadata"]["generation"].as_i64();
    let grown = generation(&before).map(|generation| generation + 1);
    ensure!(generation(&pod) == grown, "{}", pod["metadata"]);
    Ok(())
}

#[test]
fn a_second_debugger_has_logs_and_takes_commands() -> Result<()> {
    let namespace = Namespace::create("debug")?;
    namespace.apply_all(&[manifest::shell("one")])?;
    namespace.ready("one")?;
    for name in ["first", "second"] {
        let script = format!("echo here is {name}; exec sleep 1000000");
        namespace.kubectl(&["debug", "one", IMAGE, "-c", name, "--", "sh", "-c", &script])?;
    }
    for name in ["first", "second"] {
        eventually(PATIENCE, "the debugger's log is there", || {
            let log = namespace.kubectl(&format!("logs one -c {name}"))?;
            ensure!(log.trim() == format!("here is {name}"), "{log}");
            Ok(())
        })?;
    }
    let said = namespace.kubectl("exec one -c second -- echo inside")?;
    ensure!(said.trim() == "inside", "{said}");
    let described = namespace.kubectl("describe pod one")?;
    ensure!(described.contains("Ephemeral Containers:") && described.contains("first:"), "{described}");
    // Not every container may come: the API's words reach the user.
    let refused = namespace.refused(&format!("debug one {IMAGE} --target=nobody -c third"), None)?;
    ensure!(refused.contains("nobody"), "{refused}");
    Ok(())
}

#[test]
fn a_copy_of_a_pod_is_debugged() -> Result<()> {
    let namespace = Namespace::create("debug")?;
    namespace.apply_all(&[manifest::script("fails", "exit 1")])?;
    eventually(PATIENCE, "the pod has failed", || {
        let pod = namespace.get("pods/fails")?;
        ensure!(pod["status"]["phase"] == "Failed", "{}", pod["status"]);
        Ok(())
    })?;
    let words = [
        "debug",
        "fails",
        "--copy-to=copy",
        "--container=main",
        "--",
        "sh",
        "-c",
        "echo looking; sleep 1000000",
    ];
    namespace.kubectl(&words)?;
    let pod = namespace.ready("copy")?;
    ensure!(pod["spec"]["containers"].as_array().map(Vec::len) == Some(1), "{}", pod["spec"]);
    let log = namespace.kubectl("logs copy")?;
    ensure!(log.trim() == "looking", "{log}");
    let words = [
        "debug",
        "fails",
        "--copy-to=shared",
        "--share-processes",
        IMAGE,
        "-c",
        "extra",
        "--",
        "sleep",
        "1000000",
    ];
    namespace.kubectl(&words)?;
    eventually(PATIENCE, "the debugger runs beside the copy", || {
        let pod = namespace.get("pods/shared")?;
        let all = pod["status"]["containerStatuses"].as_array().context("it has containers")?;
        let extra = all.iter().find(|status| status["name"] == "extra").unwrap_or(&Value::Null);
        ensure!(extra["state"]["running"].is_object(), "{}", pod["status"]);
        ensure!(pod["spec"]["shareProcessNamespace"] == json!(true), "{}", pod["spec"]);
        Ok(())
    })
}

#[test]
fn a_node_is_looked_at_from_a_pod() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("debug")?);
    let node = &cluster.nodes()[1];
    let target = format!("node/{node}");
    let words = ["debug", &target, IMAGE, "--", "sh", "-c", "ls /host/proc/1/cmdline; hostname"];
    namespace.kubectl(&words)?;
    let pods = eventually(PATIENCE, "the node's debugger is done", || {
        let pods = namespace.get("pods")?;
        ensure!(pods["items"][0]["status"]["phase"] == "Succeeded", "{pods}");
        Ok(pods)
    })?;
    let pod = &pods["items"][0];
    ensure!(pod["spec"]["nodeName"] == **node, "{}", pod["spec"]);
    let name = pod["metadata"]["name"].as_str().context("every pod has a name")?;
    let log = namespace.kubectl(&format!("logs {name}"))?;
    ensure!(log.starts_with("/host/proc/1/cmdline\n"), "{log}");
    Ok(())
}
