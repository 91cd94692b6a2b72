//! A Deployment's new revision: without one failed request, back again, halted and resumed.

use anyhow::{Context, Result, ensure};
use keelson_tests::{
    Cluster, Namespace, PATIENCE, eventually,
    load::{NodeLoad, PodLoad},
    manifest,
};
use serde_json::{Value, json};

/// Rolls a Deployment of three over to another image and back, twice, while a pod and a node keep connecting to its Service.
fn roll_under_load(namespace: &Namespace, container: Value) -> Result<()> {
    let cluster = Cluster::require()?;
    let mut deployment = manifest::deployment("web", 3, container);
    deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(20);
    namespace.apply_all(&[deployment, manifest::service("web", "web")])?;
    namespace.ready_pods("app=web", 3)?;
    namespace.endpoints("web", 3)?;
    let by_name = PodLoad::start(namespace, "load", "http://web/", None)?;
    let target = format!("{}:80", namespace.cluster_ip("web")?);
    let by_address = NodeLoad::start(&cluster, &cluster.nodes()[0], &target)?;
    for image in [manifest::NGINX_NEXT, manifest::NGINX].repeat(2) {
        namespace.kubectl(&format!("set image deployment/web nginx={image}"))?;
        let said = namespace.kubectl("rollout status deployment/web --timeout=90s")?;
        ensure!(said.contains("successfully rolled out"), "{said}");
        // Old pods that still end are part of it.
        let pods = namespace.ready_pods("app=web", 3)?;
        let is_new = |pod: &Value| pod["spec"]["containers"][0]["image"] == image;
        ensure!(pods.iter().all(is_new), "a pod of another image counts as rolled over to {image}");
    }
    by_address.stop()?.all_answered(100).context("from the node, by address")?;
    by_name.stop()?.all_answered(100).context("from a pod, by name")
}

#[test]
fn with_readiness_and_a_pre_stop_sleep_no_request_fails() -> Result<()> {
    let namespace = Namespace::create("rollouts")?;
    let mut container = manifest::answering("$HOSTNAME");
    container["lifecycle"] = json!({"preStop": {"sleep": {"seconds": 2}}});
    // What is killed outright after the sleep has nothing left to do.
    roll_under_load(&namespace, container)
}

#[test]
fn with_neither_no_request_fails_if_the_container_drains() -> Result<()> {
    let namespace = Namespace::create("rollouts")?;
    let mut container = manifest::answering("$HOSTNAME");
    container.as_object_mut().context("a container is an object")?.remove("readinessProbe");
    // Without a probe a container counts as ready when it has started, which is when its hook has ended: that nginx then
    // listens is nginx's part. What is tested is the end of the old pods, which have no preStop.
    let listens = "until wget -q -O /dev/null http://127.0.0.1/; do usleep 10000; done";
    container["lifecycle"] = json!({"postStart": {"exec": {"command": ["sh", "-c", listens]}}});
    roll_under_load(&namespace, container)
}

fn deployed(namespace: &Namespace) -> Result<()> {
    namespace.apply_all(&[manifest::deployment("web", 2, manifest::answering("$HOSTNAME"))])?;
    namespace.ready_pods("app=web", 2).map(drop)
}

fn images(namespace: &Namespace) -> Result<Vec<String>> {
    let pods = namespace.ready_pods("app=web", 2)?;
    let image = |pod: &Value| pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default().to_string();
    Ok(pods.iter().map(image).collect())
}

#[test]
fn history_is_kept_and_undone() -> Result<()> {
    let namespace = Namespace::create("rollouts")?;
    deployed(&namespace)?;
    namespace.kubectl(&format!("set image deployment/web nginx={}", manifest::NGINX_NEXT))?;
    namespace.kubectl(&["annotate", "deployment/web", "kubernetes.io/change-cause=next image"])?;
    namespace.kubectl("rollout status deployment/web --timeout=60s")?;
    let history = eventually(PATIENCE, "the history shows the cause of the change", || {
        let history = namespace.kubectl("rollout history deployment/web")?;
        ensure!(history.contains("next image"), "{history}");
        Ok(history)
    })?;
    let revisions: Vec<&str> = history.lines().filter_map(|line| line.split_whitespace().next()).collect();
    ensure!(revisions.contains(&"1") && revisions.contains(&"2"), "{history}");
    let second = namespace.kubectl("rollout history deployment/web --revision=2")?;
    ensure!(second.contains(manifest::NGINX_NEXT), "{second}");

    let said = namespace.kubectl("rollout undo deployment/web")?;
    ensure!(said.contains("rolled back"), "{said}");
    namespace.kubectl("rollout status deployment/web --timeout=60s")?;
    ensure!(images(&namespace)?.iter().all(|image| image == manifest::NGINX));
    let history = namespace.kubectl("rollout history deployment/web")?;
    let revisions: Vec<&str> = history.lines().filter_map(|line| line.split_whitespace().next()).collect();
    ensure!(revisions.contains(&"3") && !revisions.contains(&"1"), "revision 1 is to become 3: {history}");
    Ok(())
}

#[test]
fn a_paused_deployment_rolls_when_it_is_resumed() -> Result<()> {
    let namespace = Namespace::create("rollouts")?;
    deployed(&namespace)?;
    namespace.kubectl("rollout pause deployment/web")?;
    namespace.kubectl(&format!("set image deployment/web nginx={}", manifest::NGINX_NEXT))?;
    eventually(PATIENCE, "the controller has seen the change", || {
        let object = namespace.get("apps/v1/deployments/web")?;
        let (seen, made) = (&object["status"]["observedGeneration"], &object["metadata"]["generation"]);
        ensure!(seen == made, "it has seen {seen} of {made}");
        Ok(())
    })?;
    ensure!(
        namespace.list("apps/v1/replicasets", "app=web")?.len() == 1,
        "a paused Deployment made a revision"
    );
    // A paused Deployment is still scaled.
    namespace.kubectl("scale deployment web --replicas=3")?;
    let pods = namespace.ready_pods("app=web", 3)?;
    ensure!(pods.iter().all(|pod| pod["spec"]["containers"][0]["image"] == manifest::NGINX), "it rolled");
    namespace.kubectl("scale deployment web --replicas=2")?;

    namespace.kubectl("rollout resume deployment/web")?;
    namespace.kubectl("rollout status deployment/web --timeout=60s")?;
    ensure!(images(&namespace)?.iter().all(|image| image == manifest::NGINX_NEXT));

    namespace.kubectl("rollout pause deployment/web")?;
    let refusal = namespace.refused("rollout undo deployment/web", None)?;
    ensure!(refusal.contains("paused"), "{refusal}");
    Ok(())
}

#[test]
fn a_rollout_that_cannot_succeed_keeps_the_old_pods() -> Result<()> {
    let namespace = Namespace::create("rollouts")?;
    let mut deployment = manifest::deployment("web", 2, manifest::answering("$HOSTNAME"));
    deployment["spec"]["progressDeadlineSeconds"] = json!(3);
    namespace.apply_all(&[deployment])?;
    namespace.ready_pods("app=web", 2)?;
    namespace.kubectl(&[
        "patch",
        "deployment",
        "web",
        "--type=json",
        "-p",
        r#"[{"op": "add", "path": "/spec/template/spec/containers/0/imagePullPolicy", "value": "Never"},
            {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "not-there:1"}]"#,
    ])?;
    let said = namespace.refused("rollout status deployment/web --timeout=60s", None)?;
    ensure!(said.contains("exceeded its progress deadline"), "{said}");
    let pods = namespace.list("pods", "app=web")?;
    let ready = pods.iter().filter(|pod| keelson_tests::namespace::is_ready(pod)).count();
    ensure!(ready == 2, "of two pods 25 % may be missing, which is none: {ready} are Ready");
    let stuck = pods.iter().find(|pod| pod["spec"]["containers"][0]["image"] == "not-there:1");
    let reason = &stuck.context("the new pod is there")?["status"]["containerStatuses"][0]["state"]["waiting"]
        ["reason"];
    ensure!(reason == "ErrImageNeverPull", "{reason}");
    Ok(())
}
