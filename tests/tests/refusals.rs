//! What is refused, with the reason and the field that upstream gives, and that nothing of it is stored.

use anyhow::{Context, Result, ensure};
use keelson_tests::{Namespace, api, eventually, kubectl, manifest, wait::PATIENCE};
use serde_json::{Value, json};

/// A refusal by kubectl whose text holds every one of the words.
fn says(text: &str, words: &[&str]) -> Result<()> {
    let missing: Vec<_> = words.iter().filter(|word| !text.contains(**word)).collect();
    ensure!(missing.is_empty(), "the refusal lacks {missing:?}: {text}");
    Ok(())
}

/// Refuses `create -f -` of a text.
fn create_refused(namespace: &Namespace, yaml: &str) -> Result<String> {
    namespace.refused("create -f -", Some(yaml))
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"key": "one"}})
}

/// Nothing but what every namespace gets.
fn stores_nothing(namespace: &Namespace) -> Result<()> {
    for resource in ["pods", "services", "secrets", "apps/v1/deployments"] {
        let items = namespace.list(resource, "")?;
        ensure!(items.is_empty(), "{resource} holds {items:?}");
    }
    let maps = namespace.list("configmaps", "")?;
    let ours: Vec<_> = maps.iter().filter(|map| map["metadata"]["name"] != "kube-root-ca.crt").collect();
    ensure!(ours.is_empty(), "configmaps holds {ours:?}");
    Ok(())
}

#[test]
fn bad_yaml() -> Result<()> {
    let namespace = Namespace::create("refusals")?;
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one\n";
    says(&create_refused(&namespace, text)?, &["error parsing STDIN", "YAML"])?;
    // kubectl parses for itself; the server has to, for whoever does not.
    let response = api::send("POST", &namespace.path("configmaps"), "application/yaml", text)?;
    ensure!(response.code == 400 && response.reason() == "BadRequest", "{response:?}");
    let response = api::send("POST", &namespace.path("configmaps"), "application/json", "{\"kind\":")?;
    ensure!(response.code == 400 && response.reason() == "BadRequest", "{response:?}");
    stores_nothing(&namespace)
}

#[test]
fn unknown_field() -> Result<()> {
    let namespace = Namespace::create("refusals")?;
    let mut pod = manifest::shell("one");
    pod["spec"]["containers"][0]["imag"] = json!("typo");
    let said = create_refused(&namespace, &pod.to_string())?;
    says(&said, &["Error from server (BadRequest)", "Pod in version \"v1\" cannot be handled as a Pod"])?;
    says(&said, &["strict decoding error: unknown field \"spec.containers[0].imag\""])?;
    stores_nothing(&namespace)?;
    // Asked for less, the server warns and stores the rest.
    let answer = namespace.answer("create --validate=warn -f -", Some(&pod.to_string()))?;
    ensure!(answer.code == Some(0), "{answer:?}");
    says(&answer.stderr, &["Warning: unknown field \"spec.containers[0].imag\""])?;
    ensure!(
        namespace.get("pods/one")?["spec"]["containers"][0]["imag"].is_null(),
        "an unknown field was stored"
    );
    Ok(())
}

#[test]
fn duplicate_field() -> Result<()> {
    let namespace = Namespace::create("refusals")?;
    let body = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one", "name": "two"}}"#;
    let path = format!("{}?fieldValidation=Strict", namespace.path("configmaps"));
    let response = api::send("POST", &path, "application/json", body)?;
    ensure!(response.code == 400 && response.reason() == "BadRequest", "{response:?}");
    says(response.message(), &["strict decoding error: duplicate field \"metadata.name\""])?;
    stores_nothing(&namespace)
}

#[test]
fn wrong_type() -> Result<()> {
    let namespace = Namespace::create("refusals")?;
    let mut deployment = manifest::deployment("one", 1, manifest::answering("x"));
    deployment["spec"]["replicas"] = json!("three");
    let said = create_refused(&namespace, &deployment.to_string())?;
    says(&said, &["Error from server (BadRequest)", "cannot be handled as a Deployment", "spec.replicas"])?;
    stores_nothing(&namespace)
}

#[test]
fn invalid_name_and_missing_and_wrong_values() -> Result<()> {
    let namespace = Namespace::create("refusals")?;
    let said = create_refused(&namespace, &config_map("Not_A_Name").to_string())?;
    says(&said, &["The ConfigMap \"Not_A_Name\" is invalid: metadata.name: Invalid value: \"Not_A_Name\":"])?;
    says(&said, &["a lowercase RFC 1123 subdomain must consist of"])?;

    let response =
        api::send("POST", &namespace.path("configmaps"), "application/json", &config_map("A_").to_string())?;
    ensure!(response.code == 422 && response.reason() == "Invalid", "{response:?}");
    ensure!(response.fields() == ["metadata.name"], "{response:?}");

    let mut pod = manifest::shell("one");
    pod["spec"]["containers"][0]["name"] = json!("");
    pod["spec"]["restartPolicy"] = json!("Sometimes");
    let response = api::send("POST", &namespace.path("pods"), "application/json", &pod.to_string())?;
    ensure!(response.code == 422 && response.reason() == "Invalid", "{response:?}");
    says(
        response.message(),
        &["spec.containers[0].name: Required value", "spec.restartPolicy: Unsupported value: \"Sometimes\""],
    )?;
    ensure!(
        response.body["details"]["kind"] == "Pod" && response.body["details"]["name"] == "one",
        "{response:?}"
    );

    let mut deployment = manifest::deployment("one", 1, manifest::answering("x"));
    deployment["spec"]["selector"]["matchLabels"]["app"] = json!("other");
    let said = create_refused(&namespace, &deployment.to_string())?;
    says(
        &said,
        &["spec.template.metadata.labels: Invalid value", "`selector` does not match template `labels`"],
    )?;
    stores_nothing(&namespace)
}

#[test]
fn unknown_api_version() -> Result<()> {
    let namespace = Namespace::create("refusals")?;
    let mut map = config_map("one");
    map["apiVersion"] = json!("v9");
    let said = create_refused(&namespace, &map.to_string())?;
    says(&said, &["no matches for kind \"ConfigMap\" in version \"v9\""])?;
    let response = api::send("POST", &namespace.path("configmaps"), "application/json", &map.to_string())?;
    ensure!(response.code == 400 && response.reason() == "BadRequest", "{response:?}");
    let path = format!("/apis/apps/v9/namespaces/{}/deployments", namespace.name);
    let response = api::send("POST", &path, "application/json", "{}")?;
    ensure!(response.code == 404, "{response:?}");
    stores_nothing(&namespace)
}

#[test]
fn immutable_field() -> Result<()> {
    let namespace = Namespace::create("refusals")?;
    let deployment = manifest::deployment("one", 0, manifest::answering("x"));
    let mut pod = manifest::script("pod", "exec sleep 1000000");
    namespace.apply_all(&[deployment.clone(), pod.clone(), manifest::service("svc", "pod")])?;

    let mut changed = deployment;
    changed["spec"]["selector"]["matchLabels"]["app"] = json!("other");
    changed["spec"]["template"]["metadata"]["labels"]["app"] = json!("other");
    let said = namespace.refused("replace -f -", Some(&changed.to_string()))?;
    says(&said, &["The Deployment \"one\" is invalid: spec.selector: Invalid value:", "field is immutable"])?;
    let stored = namespace.get("apps/v1/deployments/one")?;
    ensure!(stored["spec"]["selector"]["matchLabels"]["app"] == "one", "the change was stored");

    pod["spec"]["containers"][0]["command"] = json!(["sh", "-c", "exit"]);
    let said = namespace.refused("apply -f -", Some(&pod.to_string()))?;
    says(
        &said,
        &["The Pod \"pod\" is invalid: spec: Forbidden: pod updates may not change fields other than"],
    )?;

    let said = namespace
        .refused(&["patch", "service", "svc", "-p", r#"{"spec": {"clusterIP": "10.96.77.77"}}"#], None)?;
    says(&said, &["spec.clusterIPs[0]: Invalid value", "may not change once set"])?;

    let mut map = config_map("fixed");
    map["immutable"] = json!(true);
    namespace.apply_all(&[map])?;
    let said =
        namespace.refused(&["patch", "configmap", "fixed", "-p", r#"{"data": {"key": "two"}}"#], None)?;
    says(&said, &["data: Forbidden: field is immutable when `immutable` is set"])?;
    ensure!(namespace.get("configmaps/fixed")?["data"]["key"] == "one", "the change was stored");
    Ok(())
}

#[test]
fn duplicate_object() -> Result<()> {
    let namespace = Namespace::create("refusals")?;
    namespace.apply_all(&[config_map("one")])?;
    let mut second = config_map("one");
    second["data"]["key"] = json!("two");
    let said = create_refused(&namespace, &second.to_string())?;
    says(&said, &["Error from server (AlreadyExists)", "configmaps \"one\" already exists"])?;
    ensure!(namespace.get("configmaps/one")?["data"]["key"] == "one", "the second was stored");
    Ok(())
}

#[test]
fn missing_namespace() -> Result<()> {
    Namespace::create("refusals")?;
    let said = kubectl::refused("-n nowhere create -f -", Some(&config_map("one").to_string()))?;
    says(&said, &["Error from server (NotFound)", "namespaces \"nowhere\" not found"])?;
    ensure!(api::list("/api/v1/namespaces/nowhere/configmaps")?.is_empty(), "it was stored");
    Ok(())
}

#[test]
fn stale_resource_version() -> Result<()> {
    let namespace = Namespace::create("refusals")?;
    namespace.apply_all(&[config_map("one")])?;
    let mut stale = namespace.get("configmaps/one")?;
    namespace.kubectl(&["patch", "configmap", "one", "-p", r#"{"data": {"key": "two"}}"#])?;
    stale["data"]["key"] = json!("three");
    let said = namespace.refused("replace -f -", Some(&stale.to_string()))?;
    says(&said, &["Error from server (Conflict)", "Operation cannot be fulfilled on configmaps \"one\""])?;
    says(
        &said,
        &["the object has been modified; please apply your changes to the latest version and try again"],
    )?;
    ensure!(namespace.get("configmaps/one")?["data"]["key"] == "two", "the stale one was stored");
    Ok(())
}

#[test]
fn no_permission() -> Result<()> {
    let namespace = Namespace::create("refusals")?;
    let config = crate::kubectl::as_service_account(&namespace, "default")?;
    let file = config.path().to_str().context("a temporary path is text")?;
    let user = format!("system:serviceaccount:{}:default", namespace.name);
    let said = namespace.refused(&format!("--kubeconfig {file} get secrets"), None)?;
    says(&said, &["Error from server (Forbidden): secrets is forbidden"])?;
    let where_ = format!("in the namespace \"{}\"", namespace.name);
    says(&said, &[&format!("User \"{user}\" cannot list resource \"secrets\" in API group \"\""), &where_])?;
    let said = namespace.refused(&format!("--kubeconfig {file} create configmap one"), None)?;
    says(&said, &["configmaps is forbidden", "cannot create resource \"configmaps\""])?;
    stores_nothing(&namespace)?;

    namespace.kubectl("create role reader --verb=get,list --resource=configmaps")?;
    namespace.kubectl(&format!(
        "create rolebinding reader --role=reader --serviceaccount={}:default",
        namespace.name
    ))?;
    eventually(PATIENCE, "the role is in force", || {
        namespace.kubectl(&format!("--kubeconfig {file} get configmaps")).map(drop)
    })?;
    // Nobody gives what he does not have.
    let said = namespace
        .refused(&format!("--kubeconfig {file} create role writer --verb=create --resource=pods"), None)?;
    says(&said, &["roles.rbac.authorization.k8s.io is forbidden"])
}

#[test]
fn what_is_not_built_is_refused_by_its_name() -> Result<()> {
    let namespace = Namespace::create("refusals")?;
    let map = config_map("one").to_string();
    let cases = [
        ("POST", namespace.path("configmaps"), "application/x-unheard-of", 415),
        ("POST", format!("{}?dryRun=Some", namespace.path("configmaps")), "application/json", 400),
        (
            "POST",
            format!("{}?fieldValidation=Sometimes", namespace.path("configmaps")),
            "application/json",
            400,
        ),
        ("PATCH", namespace.path("configmaps/one"), "application/json", 415),
    ];
    for (method, path, content_type, code) in cases {
        let response = api::send(method, &path, content_type, &map)?;
        ensure!([code, 422].contains(&response.code), "{method} {path} {content_type}: {response:?}");
    }
    for query in
        ["labelSelector=a%3D%3D%3Db", "fieldSelector=spec.nothing%3Dx", "limit=many", "continue=garbage"]
    {
        let response =
            api::send("GET", &format!("{}?{query}", namespace.path("configmaps")), "application/json", "")?;
        ensure!(response.code == 400, "{query}: {response:?}");
    }
    stores_nothing(&namespace)
}
