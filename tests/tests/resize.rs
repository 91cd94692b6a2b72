//! `kubectl patch --subresource resize`: amounts of a container that runs, its cgroup, and what cannot be had.

use anyhow::{Context, Result, ensure};
use keelson_tests::{Cluster, Namespace, PATIENCE, eventually, manifest};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn pod(name: &str, cpu: &str, memory: &str, restart_for: &str) -> Value {
    let mut pod = manifest::shell(name);
    let amounts = json!({"cpu": cpu, "memory": memory});
    let container = &mut pod["spec"]["containers"][0];
    container["resources"] = json!({"limits": amounts, "requests": amounts});
    if !restart_for.is_empty() {
        container["resizePolicy"] =
            json!([{"resourceName": restart_for, "restartPolicy": "RestartContainer"}]);
    }
    pod["spec"]["terminationGracePeriodSeconds"] = json!(0);
    pod["spec"]["restartPolicy"] = json!("Always");
    pod
}

fn patch(cpu: &str, memory: &str) -> String {
    let amounts = json!({"cpu": cpu, "memory": memory});
    json!({"spec": {"containers": [{"name": "main", "resources": {"limits": amounts, "requests": amounts}}]}})
        .to_string()
}

fn status(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

fn condition<'a>(pod: &'a Value, kind: &str) -> Option<&'a Value> {
    pod["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// The folder of a process' cgroup in the tree that has this controller.
fn cgroup(pid: i32, controller: &str) -> Result<PathBuf> {
    let lines = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let of = |wanted: &str| {
        lines.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            controllers.split(',').any(|one| one == wanted).then(|| path.trim_start_matches('/').to_owned())
        })
    };
    if let Some(path) = of(controller) {
        return Ok(Path::new("/sys/fs/cgroup").join(controller).join(path));
    }
    Ok(Path::new("/sys/fs/cgroup").join(of("").context("a process is in a cgroup")?))
}

fn word(folder: &Path, name: &str) -> Result<String> {
    let text = std::fs::read_to_string(folder.join(name))
        .with_context(|| folder.join(name).display().to_string())?;
    Ok(text.trim().to_owned())
}

/// What the kernel has for the pod's main container: CPU time of each 100 ms in microseconds, memory in bytes.
fn kernel(cluster: &Cluster, pod: &Value) -> Result<(String, String)> {
    let text = |value: &Value| value.as_str().map(str::to_owned).context("a bound pod has node and uid");
    let (node, uid) = (text(&pod["spec"]["nodeName"])?, text(&pod["metadata"]["uid"])?);
    // A container is said to run while its process is still the runtime's, about to become what it was told to run.
    let main = eventually(PATIENCE, "the container's own process runs", || {
        let processes = cluster.pod_processes(&node, &uid)?;
        processes.into_iter().find(|(_, command)| command.contains("sleep")).context("no process that sleeps")
    })?;
    let (cpu, memory) = (cgroup(main.0.as_raw(), "cpu")?, cgroup(main.0.as_raw(), "memory")?);
    if cpu.join("cpu.max").exists() {
        let max = word(&cpu, "cpu.max")?;
        return Ok((max.split(' ').next().unwrap_or_default().to_owned(), word(&memory, "memory.max")?));
    }
    Ok((word(&cpu, "cpu.cfs_quota_us")?, word(&memory, "memory.limit_in_bytes")?))
}

#[test]
fn a_running_container_gets_more_and_less_and_stays() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("resize")?);
    namespace.apply_all(&[pod("one", "100m", "64Mi", "")])?;
    let before = namespace.ready("one")?;
    ensure!(
        kernel(&cluster, &before)? == ("10000".to_owned(), (64u64 << 20).to_string()),
        "{:?}",
        kernel(&cluster, &before)?
    );
    for (cpu, memory, kernels) in
        [("200m", "96Mi", ("20000", 96u64 << 20)), ("150m", "80Mi", ("15000", 80u64 << 20))]
    {
        namespace.kubectl(&["patch", "pod", "one", "--subresource", "resize", "-p", &patch(cpu, memory)])?;
        let pod = eventually(PATIENCE, "the status tells what the container has", || {
            let pod = namespace.get("pods/one")?;
            let has = &status(&pod)["resources"]["limits"];
            ensure!(has["cpu"] == cpu && has["memory"] == memory, "{}", pod["status"]);
            ensure!(condition(&pod, "PodResizeInProgress").is_none(), "{}", pod["status"]);
            ensure!(pod["status"]["observedGeneration"] == pod["metadata"]["generation"], "{pod}");
            Ok(pod)
        })?;
        ensure!(
            status(&pod)["allocatedResources"] == json!({"cpu": cpu, "memory": memory}),
            "{}",
            pod["status"]
        );
        let found = kernel(&cluster, &pod)?;
        ensure!(found == (kernels.0.to_owned(), kernels.1.to_string()), "{found:?}");
        ensure!(status(&pod)["containerID"] == status(&before)["containerID"], "it was replaced");
        ensure!(status(&pod)["restartCount"] == 0, "{}", pod["status"]);
    }
    let events = namespace.kubectl("get events --field-selector involvedObject.name=one")?;
    ensure!(events.contains("ResizeStarted") && events.contains("ResizeCompleted"), "{events}");
    Ok(())
}

#[test]
fn a_container_that_wants_it_starts_again_with_what_it_was_given() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("resize")?);
    namespace.apply_all(&[pod("one", "100m", "64Mi", "memory")])?;
    let before = namespace.ready("one")?;
    namespace.kubectl(&["patch", "pod", "one", "--subresource", "resize", "-p", &patch("100m", "96Mi")])?;
    let pod = eventually(PATIENCE, "another container runs", || {
        let pod = namespace.get("pods/one")?;
        ensure!(status(&pod)["restartCount"] == 1 && status(&pod)["ready"] == true, "{}", pod["status"]);
        ensure!(status(&pod)["resources"]["limits"]["memory"] == "96Mi", "{}", pod["status"]);
        Ok(pod)
    })?;
    ensure!(status(&pod)["containerID"] != status(&before)["containerID"], "{}", pod["status"]);
    ensure!(kernel(&cluster, &pod)?.1 == (96u64 << 20).to_string(), "{:?}", kernel(&cluster, &pod)?);
    Ok(())
}

#[test]
fn what_no_node_has_is_told_and_what_is_asked_for_instead_is_given() -> Result<()> {
    let namespace = Namespace::create("resize")?;
    namespace.apply_all(&[pod("one", "100m", "64Mi", "")])?;
    namespace.ready("one")?;
    let resize = |cpu: &str| {
        namespace.kubectl(&["patch", "pod", "one", "--subresource", "resize", "-p", &patch(cpu, "64Mi")])
    };
    resize("1000")?;
    let pod = eventually(PATIENCE, "the pod says why it is not resized", || {
        let pod = namespace.get("pods/one")?;
        let pending = condition(&pod, "PodResizePending").context("there is no condition")?;
        ensure!(pending["reason"] == "Infeasible" && pending["status"] == "True", "{pending}");
        ensure!(pending["observedGeneration"] == pod["metadata"]["generation"], "{pod}");
        Ok(pod)
    })?;
    let message =
        condition(&pod, "PodResizePending").map(|one| one["message"].to_string()).unwrap_or_default();
    ensure!(message.contains("Node didn't have enough capacity: cpu, requested: 1000000"), "{message}");
    ensure!(status(&pod)["resources"]["limits"]["cpu"] == "100m", "{}", pod["status"]);
    resize("150m")?;
    eventually(PATIENCE, "the next one is given", || {
        let pod = namespace.get("pods/one")?;
        ensure!(status(&pod)["resources"]["limits"]["cpu"] == "150m", "{}", pod["status"]);
        ensure!(condition(&pod, "PodResizePending").is_none(), "{}", pod["status"]);
        Ok(())
    })
}

#[test]
fn memory_in_use_is_not_taken_away() -> Result<()> {
    let namespace = Namespace::create("resize")?;
    namespace.apply_all(&[pod("one", "500m", "128Mi", "")])?;
    namespace.ready("one")?;
    // A file in memory counts as the container's.
    namespace.shell("one", "dd if=/dev/zero of=/dev/shm/full bs=1M count=48 2>/dev/null")?;
    namespace.kubectl(&["patch", "pod", "one", "--subresource", "resize", "-p", &patch("500m", "32Mi")])?;
    eventually(PATIENCE, "the pod says why it is not resized", || {
        let pod = namespace.get("pods/one")?;
        let progress = condition(&pod, "PodResizeInProgress").context("there is no condition")?;
        let told = progress["message"].as_str().unwrap_or_default();
        ensure!(progress["reason"] == "Error" && told.contains("below current usage"), "{progress}");
        ensure!(status(&pod)["restartCount"] == 0, "{}", pod["status"]);
        Ok(())
    })?;
    namespace.shell("one", "rm /dev/shm/full")?;
    eventually(PATIENCE, "what was freed is given back", || {
        let pod = namespace.get("pods/one")?;
        ensure!(status(&pod)["resources"]["limits"]["memory"] == "32Mi", "{}", pod["status"]);
        ensure!(condition(&pod, "PodResizeInProgress").is_none(), "{}", pod["status"]);
        Ok(())
    })
}
