//! A pod from its manifest to its end: started, restarted, replaced, gone.

use anyhow::{Context, Result, ensure};
use keelson_tests::{Cluster, Namespace, PATIENCE, api, eventually, load, manifest, namespace::is_ready};
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};
use std::time::Duration;

/// The manifest of the promise, word for word.
const NGINX: &str = "
apiVersion: v1
kind: Pod
metadata:
  name: nginx
spec:
  containers:
  - name: nginx
    image: nginx:1.22
    ports:
    - containerPort: 80
";

#[test]
fn a_pod_of_the_quickstart_runs_and_serves() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("pods")?);
    ensure!(namespace.apply(NGINX)?.trim() == "pod/nginx created");
    let pod = namespace.ready("nginx")?;
    ensure!(pod["status"]["phase"] == "Running", "{}", pod["status"]);
    let address = pod["status"]["podIP"].as_str().context("a running pod has an address")?;
    ensure!(address.starts_with("10.244."), "{address} is not of a pod CIDR");
    for node in cluster.nodes() {
        let count = load::from_node(&cluster, &node, &format!("{address}:80"), 3)?;
        count.all_answered(3).with_context(|| format!("from {node}"))?;
    }
    ensure!(namespace.apply(NGINX)?.trim() == "pod/nginx unchanged");
    Ok(())
}

fn container(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

#[test]
fn a_killed_container_is_restarted_in_its_pod() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("pods")?);
    namespace.apply(NGINX)?;
    let before = namespace.ready("nginx")?;
    let node = before["spec"]["nodeName"].as_str().context("a running pod has a node")?;
    let uid = before["metadata"]["uid"].as_str().context("every object has a uid")?;
    let processes = cluster.pod_processes(node, uid)?;
    // The container's first process has the lowest pid of its programs.
    let (pid, _) =
        processes.iter().min_by_key(|(pid, _)| pid.as_raw()).context("a running pod has processes")?;
    kill(*pid, Signal::SIGKILL)?;
    let after = eventually(PATIENCE, "the container runs again", || {
        let pod = namespace.get("pods/nginx")?;
        ensure!(container(&pod)["restartCount"] == 1, "{}", container(&pod));
        ensure!(is_ready(&pod), "{}", pod["status"]["conditions"]);
        Ok(pod)
    })?;
    ensure!(container(&after)["lastState"]["terminated"]["exitCode"] == 137, "{}", container(&after));
    ensure!(
        container(&after)["containerID"] != container(&before)["containerID"],
        "it is the same container"
    );
    ensure!(after["status"]["podIP"] == before["status"]["podIP"], "the sandbox, and so the address, stays");
    Ok(())
}

#[test]
fn restart_policies_are_kept() -> Result<()> {
    let namespace = Namespace::create("pods")?;
    let ending = |name: &str, policy: &str, code: u8| {
        let mut pod = manifest::script(name, &format!("exit {code}"));
        pod["spec"]["restartPolicy"] = json!(policy);
        pod
    };
    namespace.apply_all(&[
        ending("never", "Never", 1),
        ending("on-failure-fine", "OnFailure", 0),
        ending("on-failure", "OnFailure", 1),
        ending("always", "Always", 0),
    ])?;
    let is = |name: &str, check: &dyn Fn(&Value) -> bool| {
        eventually(PATIENCE, &format!("{name} is as its restart policy says"), || {
            let pod = namespace.get(&format!("pods/{name}"))?;
            ensure!(check(&pod["status"]), "its status is {}", pod["status"]);
            Ok(())
        })
    };
    let count = |status: &Value| status["containerStatuses"][0]["restartCount"].as_u64().unwrap_or(0);
    is("never", &|status| status["phase"] == "Failed" && count(status) == 0)?;
    is("on-failure-fine", &|status| status["phase"] == "Succeeded" && count(status) == 0)?;
    is("on-failure", &|status| count(status) >= 1)?;
    is("always", &|status| count(status) >= 1)?;
    // The third start of a container that ends at once waits for its back-off.
    is("on-failure", &|status| {
        status["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    })
}

#[test]
fn init_containers_run_in_order_before_the_rest() -> Result<()> {
    let namespace = Namespace::create("pods")?;
    let mut pod = manifest::script("ordered", "cat /work/log");
    let step = |name: &str, script: &str| {
        json!({"name": name, "image": manifest::BUSYBOX, "command": ["sh", "-c", script],
               "volumeMounts": [{"name": "work", "mountPath": "/work"}]})
    };
    pod["spec"]["initContainers"] =
        json!([step("first", "echo first >> /work/log"), step("second", "echo second >> /work/log")]);
    pod["spec"]["volumes"] = json!([{"name": "work", "emptyDir": {}}]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "work", "mountPath": "/work"}]);
    namespace.apply_all(&[pod])?;
    let log = namespace.finished("ordered")?;
    ensure!(log == "first\nsecond\n", "{log}");
    Ok(())
}

#[test]
fn a_deleted_pod_is_told_and_given_its_grace() -> Result<()> {
    let namespace = Namespace::create("pods")?;
    let folder = tempfile::tempdir()?;
    let mut pod = manifest::script(
        "graceful",
        "trap 'echo told > /out/term; sleep 2; exit 0' TERM; while :; do usleep 20000; done",
    );
    pod["spec"]["terminationGracePeriodSeconds"] = json!(20);
    pod["spec"]["volumes"] = json!([{"name": "out", "hostPath": {"path": folder.path()}}]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "out", "mountPath": "/out"}]);
    pod["spec"]["containers"][0]["lifecycle"] =
        json!({"preStop": {"exec": {"command": ["sh", "-c", "echo hook > /out/hook"]}}});
    namespace.apply_all(&[pod])?;
    namespace.ready("graceful")?;
    let start = std::time::Instant::now();
    namespace.kubectl("delete pod graceful")?;
    let took = start.elapsed();
    ensure!(folder.path().join("hook").exists(), "preStop did not run");
    ensure!(folder.path().join("term").exists(), "SIGTERM did not come");
    ensure!(took > Duration::from_secs(2), "it was not given the time that it needed: {took:?}");
    ensure!(took < Duration::from_secs(18), "it was given more time than it needed: {took:?}");
    Ok(())
}

#[test]
fn a_pod_is_named_and_addressed_inside_as_outside() -> Result<()> {
    let namespace = Namespace::create("pods")?;
    namespace.apply_all(&[manifest::shell("named")])?;
    let address = namespace.ready("named")?["status"]["podIP"].as_str().unwrap_or_default().to_string();
    ensure!(namespace.shell("named", "hostname")?.trim() == "named");
    let hosts = namespace.shell("named", "cat /etc/hosts")?;
    let own =
        hosts.lines().any(|line| line.split_whitespace().collect::<Vec<_>>() == [address.as_str(), "named"]);
    ensure!(own, "no line for {address} in:\n{hosts}");
    let resolver = namespace.shell("named", "cat /etc/resolv.conf")?;
    let search = format!("search {}.svc.cluster.local svc.cluster.local cluster.local", namespace.name);
    ensure!(resolver.contains("nameserver 10.96.0.10\n") && resolver.contains(&search), "{resolver}");
    ensure!(resolver.contains("options ndots:5"), "{resolver}");
    Ok(())
}

#[test]
fn security_and_resources_reach_the_container() -> Result<()> {
    let namespace = Namespace::create("pods")?;
    let mut pod = manifest::script(
        "confined",
        "id -u; id -g; id -G; touch /tmp/x 2>/dev/null || echo read-only; grep -E 'CapBnd|NoNewPrivs' /proc/self/status",
    );
    pod["spec"]["securityContext"] =
        json!({"runAsUser": 1234, "runAsGroup": 2345, "supplementalGroups": [3456]});
    pod["spec"]["containers"][0]["securityContext"] = json!({
        "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
    });
    pod["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "32Mi", "cpu": "500m"}});
    namespace.apply_all(&[pod])?;
    let log = namespace.finished("confined")?;
    let lines: Vec<&str> = log.lines().collect();
    ensure!(lines[..2] == ["1234", "2345"], "{log}");
    ensure!(lines[2].split(' ').any(|group| group == "3456"), "{log}");
    ensure!(lines[3] == "read-only", "{log}");
    ensure!(log.contains("CapBnd:\t0000000000000000") && log.contains("NoNewPrivs:\t1"), "{log}");
    let pod = namespace.get("pods/confined")?;
    ensure!(pod["status"]["qosClass"] == "Guaranteed", "{}", pod["status"]["qosClass"]);
    Ok(())
}

#[test]
fn a_container_over_its_memory_limit_is_oom_killed() -> Result<()> {
    let namespace = Namespace::create("pods")?;
    let mut pod = manifest::script("hungry", "x=0123456789abcdef; while :; do x=$x$x; done");
    pod["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "24Mi"}});
    namespace.apply_all(&[pod])?;
    eventually(PATIENCE, "the container was killed for its memory", || {
        let pod = namespace.get("pods/hungry")?;
        let ended = &container(&pod)["state"]["terminated"];
        ensure!(ended["exitCode"] == 137 && ended["reason"] == "OOMKilled", "{}", pod["status"]);
        Ok(())
    })
}

/// As the controllers do to the pods of a node that is silent for a while.
#[test]
fn a_pod_that_is_called_not_ready_is_called_ready_again() -> Result<()> {
    let namespace = Namespace::create("pods")?;
    namespace.apply_all(&[manifest::shell("web")])?;
    namespace.ready("web")?;
    let condition = r#"{"status": {"conditions": [{"type": "Ready", "status": "False"}]}}"#;
    let path = namespace.path("pods/web/status");
    let answer = api::send("PATCH", &path, "application/strategic-merge-patch+json", condition)?;
    ensure!(answer.code == 200 && !is_ready(&answer.body), "{}", answer.body);
    namespace.ready("web").map(drop)
}

#[test]
fn the_end_of_its_log_is_the_message_of_a_container_that_failed_without_one() -> Result<()> {
    let namespace = Namespace::create("pods")?;
    let pod = |name: &str, script: &str| {
        let mut pod = manifest::script(name, script);
        pod["spec"]["containers"][0]["terminationMessagePolicy"] = json!("FallbackToLogsOnError");
        pod
    };
    let rows = [
        ("failed", "echo -n DONE; exit 1", json!("DONE")),
        ("written", "echo -n DONE; echo -n own > /dev/termination-log; exit 1", json!("own")),
        ("succeeded", "echo -n DONE", Value::Null),
    ];
    namespace.apply_all(&rows.iter().map(|(name, script, _)| pod(name, script)).collect::<Vec<_>>())?;
    for (name, _, message) in rows {
        let ended = eventually(PATIENCE, "the container has ended", || {
            let mut pod = namespace.get(&format!("pods/{name}"))?;
            let ended = pod["status"]["containerStatuses"][0]["state"]["terminated"].take();
            ensure!(ended.is_object(), "{pod}");
            Ok(ended)
        })?;
        ensure!(ended["message"] == message, "{name}: {ended}");
    }
    Ok(())
}
