//! kubectl's commands that make, change and delete objects, as users and their scripts call them.

use anyhow::{Context, Result, ensure};
use keelson_tests::{Namespace, kubectl, manifest, stream::Stream};
use serde_json::{Value, json};
use std::time::Duration;

/// For what a command has only to notice.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn create_makes_the_usual_objects() -> Result<()> {
    let namespace = Namespace::create("kubectl")?;
    let space = &namespace.name;
    let cases = [
        ("create configmap map --from-literal=a=b", "configmap/map created"),
        ("create secret generic hidden --from-literal=a=b", "secret/hidden created"),
        ("create serviceaccount robot", "serviceaccount/robot created"),
        ("create deployment web --image=nginx:1.22 --replicas=1", "deployment.apps/web created"),
        ("create service clusterip svc --tcp=80:80", "service/svc created"),
        ("create role reader --verb=get --resource=pods", "role.rbac.authorization.k8s.io/reader created"),
        (
            "create rolebinding reader --role=reader --user=jane",
            "rolebinding.rbac.authorization.k8s.io/reader created",
        ),
    ];
    for (words, said) in cases {
        ensure!(namespace.kubectl(words)?.trim() == said, "{words}");
    }
    let token = namespace.kubectl("create token robot")?;
    ensure!(token.trim().split('.').count() == 3, "no JWT: {token}");
    let dry = namespace.kubectl("create configmap not --from-literal=a=b --dry-run=server -o name")?;
    ensure!(dry.trim() == "configmap/not", "{dry}");
    let missing = namespace.refused("get configmap not", None)?;
    ensure!(missing.contains("not found"), "a dry run was stored: {missing}");
    ensure!(namespace.kubectl("get secret hidden -o jsonpath={.data.a}")? == "Yg==");
    kubectl(&format!("create namespace {space}-2"))?;
    kubectl(&format!("delete namespace {space}-2 --wait=false")).map(drop)
}

#[test]
fn apply_diff_and_prune_by_hand() -> Result<()> {
    let namespace = Namespace::create("kubectl")?;
    let map = |data: Value| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": data})
            .to_string()
    };
    ensure!(namespace.apply(&map(json!({"a": "1", "b": "2"})))?.trim() == "configmap/one created");
    ensure!(namespace.apply(&map(json!({"a": "1", "b": "2"})))?.trim() == "configmap/one unchanged");
    let changed = map(json!({"a": "1", "c": "3"}));
    let diff = namespace.answer("diff -f -", Some(&changed))?;
    ensure!(
        diff.code == Some(1) && diff.stdout.contains("-  b: \"2\"") && diff.stdout.contains("+  c: \"3\""),
        "{diff:?}"
    );
    // What somebody else has set stays, what apply set before and sets no longer goes.
    namespace.kubectl(&["patch", "configmap", "one", "-p", r#"{"data": {"theirs": "x"}}"#])?;
    ensure!(namespace.apply(&changed)?.trim() == "configmap/one configured");
    let data = namespace.get("configmaps/one")?["data"].take();
    ensure!(data == json!({"a": "1", "c": "3", "theirs": "x"}), "{data}");
    let diff = namespace.answer("diff -f -", Some(&changed))?;
    ensure!(diff.code == Some(0) && diff.stdout.is_empty(), "{diff:?}");
    let said = namespace.answer("delete -f -", Some(&changed))?;
    ensure!(
        said.stdout.trim() == "configmap \"one\" deleted"
            || said.stdout.starts_with("configmap \"one\" deleted from"),
        "{said:?}"
    );
    Ok(())
}

#[test]
fn edit_patch_label_and_annotate() -> Result<()> {
    let namespace = Namespace::create("kubectl")?;
    namespace.kubectl("create configmap one --from-literal=key=before")?;
    let mut edit = namespace.command("edit configmap one")?;
    edit.env("KUBE_EDITOR", "sed -i s/before/after/");
    let said = kubectl::run(edit, None)?;
    ensure!(said.code == Some(0) && said.stdout.trim() == "configmap/one edited", "{said:?}");
    ensure!(namespace.get("configmaps/one")?["data"]["key"] == "after");

    namespace.kubectl(&[
        "patch",
        "configmap",
        "one",
        "--type=merge",
        "-p",
        r#"{"data": {"key": null, "new": "x"}}"#,
    ])?;
    ensure!(namespace.get("configmaps/one")?["data"] == json!({"new": "x"}));
    namespace.kubectl(&["patch", "configmap", "one", "--type=json", "-p", r#"[{"op": "test", "path": "/data/new", "value": "x"}, {"op": "add", "path": "/data/two", "value": "y"}]"#])?;
    ensure!(namespace.get("configmaps/one")?["data"] == json!({"new": "x", "two": "y"}));
    namespace.apply_all(&[manifest::deployment("web", 0, manifest::answering("x"))])?;
    // A strategic merge finds the container by its name.
    let patch = r#"{"spec": {"template": {"spec": {"containers": [{"name": "nginx", "image": "nginx:1.22.1"}, {"name": "second", "image": "busybox:1.35"}]}}}}"#;
    namespace.kubectl(&["patch", "deployment", "web", "-p", patch])?;
    let containers =
        namespace.get("apps/v1/deployments/web")?["spec"]["template"]["spec"]["containers"].take();
    let first = containers
        .as_array()
        .into_iter()
        .flatten()
        .find(|c| c["name"] == "nginx")
        .context("the first stays")?;
    ensure!(containers.as_array().map(Vec::len) == Some(2), "{containers}");
    ensure!(first["image"] == "nginx:1.22.1" && first["ports"][0]["containerPort"] == 80, "{first}");

    namespace.kubectl("label configmap one colour=red")?;
    let refusal = namespace.refused("label configmap one colour=blue", None)?;
    ensure!(refusal.contains("already has a value"), "{refusal}");
    namespace.kubectl("label configmap one colour=blue --overwrite")?;
    ensure!(namespace.kubectl("get configmaps -l colour=blue -o name")?.trim() == "configmap/one");
    namespace.kubectl("label configmap one colour-")?;
    namespace.kubectl(&["annotate", "configmap", "one", "note=some text"])?;
    let meta = namespace.get("configmaps/one")?["metadata"].take();
    ensure!(meta["labels"].is_null() && meta["annotations"]["note"] == "some text", "{meta}");
    Ok(())
}

#[test]
fn run_expose_wait_and_delete() -> Result<()> {
    let namespace = Namespace::create("kubectl")?;
    ensure!(namespace.kubectl("run web --image=nginx:1.22 --port=80")?.trim() == "pod/web created");
    namespace.kubectl("wait --for=condition=Ready pod/web --timeout=60s")?;
    namespace.kubectl("wait --for=jsonpath={.status.phase}=Running pod/web --timeout=10s")?;
    ensure!(
        namespace.kubectl("expose pod web --name=front --port=8080 --target-port=80")?.trim()
            == "service/front exposed"
    );
    namespace.endpoints("front", 1)?;
    // It says nothing before somebody listens.
    let script = "read go && timeout 5 wget -q -O - http://front:8080/";
    let run =
        ["run", "once", "--image=busybox:1.35", "--restart=Never", "--stdin", "--attach", "--rm", "--quiet"];
    let words = [&run[..], &["--", "sh", "-c", script]].concat();
    let answer = namespace.answer(&words[..], Some("go\n"))?;
    ensure!(answer.code == Some(0), "{answer:?}");
    let said = answer.stdout;
    ensure!(said.contains("Welcome to nginx!"), "{said}");
    ensure!(namespace.refused("get pod once", None)?.contains("not found"));

    let mut waiting = Stream::start(namespace.command("wait --for=delete pod/web --timeout=60s")?)?;
    let said = namespace.kubectl("delete pod web")?;
    ensure!(said.starts_with("pod \"web\" deleted"), "{said}");
    waiting.end(SOON)?;
    let late = namespace.refused("wait --for=condition=Ready pod/web --timeout=1s", None)?;
    ensure!(late.contains("not found"), "{late}");
    namespace.kubectl("delete services --all")?;
    ensure!(namespace.kubectl("get services -o name")?.is_empty());
    let said = namespace.kubectl("delete pod web --ignore-not-found")?;
    ensure!(said.is_empty(), "{said}");
    Ok(())
}
