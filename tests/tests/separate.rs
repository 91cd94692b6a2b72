//! API server, controllers and scheduler as a process each: they meet over TLS alone, each as the user of its certificate, and
//! one that dies takes nobody with it. Needs `up --separate`; the rest of what such a cluster does is in `deployments`.

use anyhow::{Result, ensure};
use keelson_tests::{Cluster, Namespace, PATIENCE, eventually, kubectl, manifest};
use serde_json::json;
use std::fs;

const PROCESSES: [&str; 3] = ["keelson", "keelson-controllers", "keelson-scheduler"];

#[test]
fn each_component_is_a_process_that_may_do_its_own_work_alone() -> Result<()> {
    let cluster = Cluster::require_separate()?;
    for name in PROCESSES {
        let command =
            fs::read_to_string(format!("/proc/{}/cmdline", cluster.process(name)?))?.replace('\0', " ");
        let component = name.strip_prefix("keelson-").unwrap_or("apiserver");
        ensure!(command.contains(&format!("--components {component}")), "{name} is `{command}`");
    }
    let may = |component: &str, words: &str| -> Result<bool> {
        let kubeconfig = cluster.folder().join(format!("{component}.kubeconfig"));
        // It ends with 1 for "no".
        let answer =
            kubectl::answer(&format!("--kubeconfig {} auth can-i {words} -A", kubeconfig.display()), None)?;
        let said = answer.stdout.trim();
        ensure!(said == "yes" || said == "no", "{answer:?}");
        Ok(said == "yes")
    };
    ensure!(may("scheduler", "create pods --subresource=binding")? && may("controllers", "create pods")?);
    ensure!(!may("scheduler", "create pods")? && !may("controllers", "create pods --subresource=binding")?);
    ensure!(!may("scheduler", "delete nodes")?);
    Ok(())
}

#[test]
fn a_pod_waits_for_a_dead_scheduler_and_a_deployment_for_dead_controllers() -> Result<()> {
    let (cluster, namespace) = (Cluster::require_separate()?, Namespace::create("separate")?);
    let others = cluster.process("keelson")?;
    // Without it no pod starts, and only a controller makes it.
    eventually(PATIENCE, "the root CA", || namespace.get("configmaps/kube-root-ca.crt"))?;
    cluster.kill("keelson-scheduler")?;
    cluster.kill("keelson-controllers")?;
    let mut placed = manifest::shell("placed");
    placed["spec"]["nodeName"] = json!(cluster.nodes()[0]);
    namespace.apply_all(&[
        manifest::shell("waits"),
        manifest::deployment("web", 2, manifest::answering("$HOSTNAME")),
        placed,
    ])?;
    // Later in the same list, it starts: there was time enough for the others.
    namespace.ready("placed")?;
    ensure!(namespace.get("pods/waits")?["spec"]["nodeName"].is_null(), "placed without a scheduler");
    ensure!(namespace.list("apps/v1/replicasets", "")?.is_empty(), "a ReplicaSet without controllers");
    cluster.up()?;
    namespace.ready("waits")?;
    namespace.ready_pods("app=web", 2)?;
    ensure!(cluster.process("keelson")? == others, "the API server was restarted");
    Ok(())
}

#[test]
fn scheduler_and_controllers_outlive_the_api_server() -> Result<()> {
    let (cluster, namespace) = (Cluster::require_separate()?, Namespace::create("separate")?);
    namespace.apply_all(&[manifest::deployment("web", 1, manifest::answering("$HOSTNAME"))])?;
    namespace.ready_pods("app=web", 1)?;
    let survivors =
        || -> Result<Vec<_>> { PROCESSES[1..].iter().map(|name| cluster.process(name)).collect() };
    let before = survivors()?;
    cluster.kill("keelson")?;
    cluster.up()?;
    namespace.kubectl("scale deployment web --replicas=3")?;
    namespace.ready_pods("app=web", 3)?;
    ensure!(survivors()? == before, "scheduler or controllers were restarted");
    eventually(PATIENCE, "the Deployment counts three", || {
        let status = namespace.get("apps/v1/deployments/web")?["status"].take();
        ensure!(status["availableReplicas"] == 3, "{status}");
        Ok(())
    })
}
