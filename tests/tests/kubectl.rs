//! kubectl's commands that read, as users and their scripts call them; those that change something are in `objects`.

use anyhow::{Context, Result, ensure};
use keelson_tests::{Cluster, Namespace, PATIENCE, eventually, kubectl, manifest, stream::Stream};
use serde_json::{Value, json};
use std::{io::Write, time::Duration};
use tempfile::NamedTempFile;

/// For one line of a watch.
const SOON: Duration = Duration::from_secs(10);

/// A kubeconfig of a ServiceAccount, by a token of its own and without the administrator's certificate.
pub(crate) fn as_service_account(namespace: &Namespace, account: &str) -> Result<NamedTempFile> {
    let token = namespace.kubectl(&format!("create token {account}"))?;
    let text = kubectl("config view --raw --minify -o json")?;
    let mut config: Value = serde_json::from_str(&text).context("parsing the kubeconfig")?;
    config["users"][0]["user"] = json!({"token": token.trim()});
    let mut file = NamedTempFile::new()?;
    file.write_all(config.to_string().as_bytes())?;
    Ok(file)
}

/// The first words of a table's first line.
fn header(table: &str) -> Vec<&str> {
    table.lines().next().unwrap_or_default().split_whitespace().collect()
}

#[test]
fn get_in_every_form() -> Result<()> {
    let namespace = Namespace::create("kubectl")?;
    namespace.apply_all(&[manifest::shell("one"), manifest::service("svc", "one")])?;
    let pod = namespace.ready("one")?;
    let table = namespace.kubectl("get pods")?;
    ensure!(header(&table) == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"], "{table}");
    let row: Vec<&str> = table.lines().nth(1).unwrap_or_default().split_whitespace().collect();
    ensure!(row[..4] == ["one", "1/1", "Running", "0"], "{table}");
    let wide = namespace.kubectl("get pod one -o wide")?;
    let words = [
        "NOMINATED NODE",
        "READINESS GATES",
        pod["status"]["podIP"].as_str().unwrap_or("?"),
        pod["spec"]["nodeName"].as_str().unwrap_or("?"),
    ];
    ensure!(words.iter().all(|word| wide.contains(word)), "{wide}");
    let yaml = namespace.kubectl("get pod one -o yaml")?;
    ensure!(yaml.starts_with("apiVersion: v1\nkind: Pod\n") && yaml.contains("\n  name: one\n"), "{yaml}");
    let json: Value = serde_json::from_str(&namespace.kubectl("get pod one -o json")?)?;
    ensure!(json["metadata"]["uid"] == pod["metadata"]["uid"], "{json}");
    let path = namespace.kubectl(&["get", "pods", "-o", "jsonpath={.items[*].spec.containers[0].image}"])?;
    ensure!(path == manifest::BUSYBOX, "{path}");
    let columns = namespace.kubectl(&[
        "get",
        "pods",
        "-o",
        "custom-columns=N:.metadata.name,P:.status.phase",
        "--no-headers",
    ])?;
    ensure!(columns.split_whitespace().collect::<Vec<_>>() == ["one", "Running"], "{columns}");
    ensure!(namespace.kubectl("get pods -o name")? == "pod/one\n");
    let both = namespace.kubectl("get pods,services")?;
    ensure!(both.contains("pod/one") && both.contains("service/svc"), "{both}");
    ensure!(namespace.kubectl("get pods -l app=one -o name")? == "pod/one\n");
    ensure!(namespace.kubectl("get pods -l app!=one -o name")?.is_empty());
    ensure!(namespace.kubectl("get pods --field-selector status.phase=Running -o name")? == "pod/one\n");
    let all = kubectl("get pods -A")?;
    ensure!(header(&all)[0] == "NAMESPACE" && all.contains(&namespace.name), "{all}");
    let missing = namespace.refused("get pod nothing", None)?;
    ensure!(missing.contains("Error from server (NotFound): pods \"nothing\" not found"), "{missing}");
    Ok(())
}

#[test]
fn get_watches() -> Result<()> {
    let namespace = Namespace::create("kubectl")?;
    namespace.kubectl("create configmap one --from-literal=key=a")?;
    let jsonpath = "-o=jsonpath={.data.key}{\"\\n\"}";
    let mut watch = Stream::start(namespace.command(&["get", "configmap", "one", "-w", jsonpath])?)?;
    watch.line(SOON, |line| line == "a")?;
    for value in ["b", "c"] {
        namespace.kubectl(&[
            "patch",
            "configmap",
            "one",
            "-p",
            &json!({"data": {"key": value}}).to_string(),
        ])?;
        watch.line(SOON, |line| line == value)?;
    }
    drop(watch);
    let mut watch = Stream::start(namespace.command("get pods -w --output-watch-events")?)?;
    namespace.apply_all(&[manifest::script("brief", "true")])?;
    watch.line(PATIENCE, |line| line.starts_with("ADDED") && line.contains("brief"))?;
    watch.line(PATIENCE, |line| line.starts_with("MODIFIED") && line.contains("Completed"))?;
    namespace.kubectl("delete pod brief --wait=false")?;
    watch.line(PATIENCE, |line| line.starts_with("DELETED") && line.contains("brief")).map(drop)
}

#[test]
fn describe_tells_of_everything() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("kubectl")?);
    namespace.apply_all(&[
        manifest::deployment("web", 1, manifest::answering("x")),
        manifest::service("web", "web"),
    ])?;
    let pods = namespace.ready_pods("app=web", 1)?;
    let address = namespace.endpoints("web", 1)?.remove(0);
    let name = pods[0]["metadata"]["name"].as_str().context("every pod has a name")?;
    let pod = eventually(SOON, "the events of the pod are there", || {
        let pod = namespace.kubectl(&format!("describe pod {name}"))?;
        ensure!(["Scheduled", "Created", "Started"].iter().all(|event| pod.contains(event)), "{pod}");
        Ok(pod)
    })?;
    ensure!(pod.contains(&address) && pod.contains("Controlled By:") && pod.contains("Readiness:"), "{pod}");
    let deployment = namespace.kubectl("describe deployment web")?;
    ensure!(
        deployment.contains("ScalingReplicaSet")
            && deployment.contains("1 desired | 1 updated | 1 total | 1 available"),
        "{deployment}"
    );
    let service = namespace.kubectl("describe service web")?;
    ensure!(service.contains(&format!("{address}:80")), "{service}");
    let node = kubectl(&format!("describe node {}", cluster.nodes()[0]))?;
    ensure!(node.contains("Allocatable:") && node.contains("PodCIDR:") && node.contains("Ready"), "{node}");
    let space = kubectl(&format!("describe namespace {}", namespace.name))?;
    ensure!(space.contains("Active"), "{space}");
    Ok(())
}

#[test]
fn events_tell_what_happened() -> Result<()> {
    let namespace = Namespace::create("kubectl")?;
    namespace.apply_all(&[manifest::shell("one")])?;
    namespace.ready("one")?;
    eventually(SOON, "kubectl events tells of the start", || {
        let events = namespace.kubectl("events --for pod/one")?;
        ensure!(
            ["Scheduled", "Pulled", "Created", "Started"].iter().all(|word| events.contains(word)),
            "{events}"
        );
        ensure!(header(&events) == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"], "{events}");
        Ok(())
    })?;
    let mut pod = manifest::shell("nowhere");
    pod["spec"]["nodeSelector"] = json!({"colour": "none"});
    namespace.apply_all(&[pod])?;
    eventually(SOON, "the scheduler says why not", || {
        let events = namespace.kubectl("get events --field-selector reason=FailedScheduling")?;
        ensure!(
            events.contains("0/3 nodes are available") && events.contains("node affinity/selector"),
            "{events}"
        );
        Ok(())
    })
}

#[test]
fn explain_and_api_resources_know_the_kinds() -> Result<()> {
    Cluster::require()?;
    let said = kubectl("explain pod.spec.containers.livenessProbe")?;
    ensure!(said.contains("KIND:       Pod") && said.contains("initialDelaySeconds\t<integer>"), "{said}");
    let said = kubectl("explain deployment.spec --recursive")?;
    ensure!(said.contains("GROUP:      apps") && said.contains("maxUnavailable"), "{said}");
    let table = kubectl("api-resources")?;
    let rows = [
        ["pods", "po", "v1", "true", "Pod"],
        ["services", "svc", "v1", "true", "Service"],
        ["deployments", "deploy", "apps/v1", "true", "Deployment"],
        ["nodes", "no", "v1", "false", "Node"],
    ];
    for row in rows {
        ensure!(table.lines().any(|line| line.split_whitespace().eq(row)), "no row {row:?} in:\n{table}");
    }
    let versions = kubectl("api-versions")?;
    let expected =
        ["v1", "apps/v1", "discovery.k8s.io/v1", "rbac.authorization.k8s.io/v1", "coordination.k8s.io/v1"];
    ensure!(expected.iter().all(|version| versions.lines().any(|line| line == *version)), "{versions}");
    let namespaced = kubectl("api-resources --namespaced=false -o name")?;
    ensure!(namespaced.lines().any(|line| line == "nodes") && !namespaced.lines().any(|line| line == "pods"));
    Ok(())
}

#[test]
fn auth_can_i_knows_who_may() -> Result<()> {
    let namespace = Namespace::create("kubectl")?;
    ensure!(namespace.kubectl("auth can-i delete nodes")?.trim() == "yes");
    let config = as_service_account(&namespace, "default")?;
    let file = config.path().to_str().context("a temporary path is text")?;
    let can = |words: &str| namespace.answer(&format!("--kubeconfig {file} auth can-i {words}"), None);
    let answer = can("list pods")?;
    ensure!(answer.stdout.trim() == "no" && answer.code == Some(1), "{answer:?}");
    namespace.kubectl("create role reader --verb=list --resource=pods")?;
    namespace.kubectl(&format!(
        "create rolebinding reader --role=reader --serviceaccount={}:default",
        namespace.name
    ))?;
    eventually(SOON, "the role is in force", || {
        let answer = can("list pods")?;
        ensure!(answer.stdout.trim() == "yes" && answer.code == Some(0), "{answer:?}");
        Ok(())
    })?;
    ensure!(can("create pods")?.stdout.trim() == "no");
    ensure!(can("list pods --subresource=log")?.stdout.trim() == "no");
    Ok(())
}

#[test]
fn the_cluster_introduces_itself() -> Result<()> {
    let cluster = Cluster::require()?;
    let info = kubectl("cluster-info")?;
    ensure!(
        info.contains("Kubernetes control plane")
            && info.contains("is running at")
            && info.contains("https://"),
        "{info}"
    );
    let version: Value = serde_json::from_str(&kubectl("version -o json")?)?;
    let server = &version["serverVersion"];
    ensure!(server["major"] == "1" && server["minor"] == "36", "{server}");
    ensure!(server["gitVersion"].as_str().is_some_and(|v| v.starts_with("v1.36.")), "{server}");
    let nodes = kubectl("get nodes")?;
    ensure!(header(&nodes) == ["NAME", "STATUS", "ROLES", "AGE", "VERSION"], "{nodes}");
    for node in cluster.nodes() {
        ensure!(
            nodes.lines().any(|line| line.split_whitespace().take(2).eq([node.as_str(), "Ready"])),
            "{nodes}"
        );
    }
    ensure!(kubectl("get --raw /readyz")? == "ok");
    Ok(())
}
