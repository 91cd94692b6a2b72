//! What a container finds in its files and its environment.

use anyhow::{Context, Result, ensure};
use keelson_tests::{Namespace, PATIENCE, api, eventually, manifest};
use serde_json::{Value, json};

/// A pod with volumes, each mounted at /NAME, that prints what its script prints.
fn mounting(name: &str, script: &str, volumes: Value) -> Value {
    let mut pod = manifest::script(name, script);
    let mounts: Vec<Value> = volumes.as_array().into_iter().flatten().map(|volume| {
        json!({"name": volume["name"], "mountPath": format!("/{}", volume["name"].as_str().unwrap_or_default())})
    }).collect();
    pod["spec"]["volumes"] = volumes;
    pod["spec"]["containers"][0]["volumeMounts"] = json!(mounts);
    pod
}

#[test]
fn an_empty_dir_is_shared_and_outlives_a_restart() -> Result<()> {
    let namespace = Namespace::create("volumes")?;
    let script = "if [ -e /work/seen ]; then sleep 1000000; else echo first > /work/seen; exit 1; fi";
    let mut pod = mounting("empty", script, json!([{"name": "work", "emptyDir": {}}]));
    pod["spec"]["restartPolicy"] = json!("Always");
    let other = json!({"name": "other", "image": manifest::BUSYBOX, "command": ["sleep", "1000000"],
                       "volumeMounts": [{"name": "work", "mountPath": "/elsewhere", "readOnly": true}]});
    pod["spec"]["containers"].as_array_mut().context("containers")?.push(other);
    namespace.apply_all(&[pod])?;
    namespace.ready("empty")?;
    let seen = namespace.kubectl(&["exec", "empty", "-c", "other", "--", "cat", "/elsewhere/seen"])?;
    ensure!(seen == "first\n", "{seen}");
    let write = ["exec", "empty", "-c", "other", "--", "touch", "/elsewhere/x"];
    let refusal = namespace.refused(&write, None)?;
    ensure!(refusal.contains("Read-only file system"), "{refusal}");
    Ok(())
}

#[test]
fn config_maps_and_secrets_are_files() -> Result<()> {
    let namespace = Namespace::create("volumes")?;
    namespace.kubectl("create configmap settings --from-literal=a=one --from-literal=b=two")?;
    namespace.kubectl("create secret generic keys --from-literal=key=hidden")?;
    let volumes = json!([
        {"name": "all", "configMap": {"name": "settings"}},
        {"name": "some", "configMap": {"name": "settings", "items": [{"key": "b", "path": "deep/file", "mode": 256}]}},
        {"name": "keys", "secret": {"secretName": "keys", "defaultMode": 288}},
        {"name": "maybe", "configMap": {"name": "missing", "optional": true}},
    ]);
    let script = "cat /all/a; echo; cat /some/deep/file; echo; ls /some; cat /keys/key; echo; \
                  stat -L -c %a /some/deep/file /keys/key /all/a; ls /maybe | wc -l";
    namespace.apply_all(&[mounting("files", script, volumes)])?;
    let log = namespace.finished("files")?;
    ensure!(log == "one\ntwo\ndeep\nhidden\n400\n440\n644\n0\n", "{log}");
    Ok(())
}

#[test]
fn a_missing_config_map_holds_the_pod_until_it_is_there() -> Result<()> {
    let namespace = Namespace::create("volumes")?;
    namespace.apply_all(&[mounting(
        "held",
        "cat /late/a",
        json!([{"name": "late", "configMap": {"name": "late"}}]),
    )])?;
    eventually(PATIENCE, "an event says what is missing", || {
        let events = namespace.kubectl("get events --field-selector involvedObject.name=held")?;
        ensure!(
            events.contains("FailedMount") && events.contains("configmap \"late\" not found"),
            "{events}"
        );
        Ok(())
    })?;
    namespace.kubectl("create configmap late --from-literal=a=here")?;
    let log = namespace.finished("held")?;
    ensure!(log == "here", "{log}");
    Ok(())
}

#[test]
fn a_projected_token_is_the_pods_own() -> Result<()> {
    let namespace = Namespace::create("volumes")?;
    let volume = json!([{"name": "token", "projected": {"sources": [
        {"serviceAccountToken": {"path": "token", "audience": "elsewhere", "expirationSeconds": 600}},
        {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca"}]}},
    ]}}]);
    let own = "/var/run/secrets/kubernetes.io/serviceaccount";
    let script = format!(
        "cat /token/token; echo; cat /token/name; echo; head -n 1 /token/ca; cat {own}/namespace; echo; cat {own}/token; echo; head -n 1 {own}/ca.crt"
    );
    namespace.apply_all(&[mounting("holder", &script, volume)])?;
    let log = namespace.finished("holder")?;
    let lines: Vec<&str> = log.lines().collect();
    ensure!(lines.len() == 6, "{log}");
    ensure!(lines[1] == "holder" && lines[2] == "-----BEGIN CERTIFICATE-----", "{log}");
    ensure!(lines[3] == namespace.name && lines[5] == "-----BEGIN CERTIFICATE-----", "{log}");

    let review = |token: &str, audience: Option<&str>| -> Result<Value> {
        let audiences = audience.map(|audience| vec![audience]).unwrap_or_default();
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token, "audiences": audiences}});
        let mut answer = api::create("/apis/authentication.k8s.io/v1/tokenreviews", &body)?;
        Ok(answer["status"].take())
    };
    let status = review(lines[0], Some("elsewhere"))?;
    ensure!(status["authenticated"] == true, "{status}");
    ensure!(
        status["user"]["username"] == format!("system:serviceaccount:{}:default", namespace.name),
        "{status}"
    );
    ensure!(status["user"]["extra"]["authentication.kubernetes.io/pod-name"][0] == "holder", "{status}");
    ensure!(
        review(lines[0], None)?["authenticated"] != true,
        "a token for elsewhere is not one for the API server"
    );
    ensure!(review(lines[4], None)?["authenticated"] == true, "the pod's usual token is not accepted");
    Ok(())
}

#[test]
fn a_token_may_be_read_by_whom_the_pod_runs_as_alone() -> Result<()> {
    let namespace = Namespace::create("volumes")?;
    let script = "stat -L -c '%A %u %g' /var/run/secrets/kubernetes.io/serviceaccount/token";
    let rows = [
        ("plain", json!({}), "-rw-r--r-- 0 0\n"),
        ("user", json!({"runAsUser": 1000}), "-rw------- 1000 0\n"),
        ("group", json!({"fsGroup": 10000}), "-rw-r----- 0 10000\n"),
        ("both", json!({"runAsUser": 1000, "fsGroup": 10000}), "-rw-r----- 1000 10000\n"),
    ];
    let pod = |(name, context, _): &(&str, Value, &str)| {
        let mut pod = manifest::script(name, script);
        pod["spec"]["securityContext"] = context.clone();
        pod
    };
    namespace.apply_all(&rows.iter().map(pod).collect::<Vec<_>>())?;
    for (name, _, expected) in rows {
        let log = namespace.finished(name)?;
        ensure!(log == expected, "{name}: {log}");
    }
    Ok(())
}

#[test]
fn the_downward_api_tells_a_pod_about_itself() -> Result<()> {
    let namespace = Namespace::create("volumes")?;
    let field = |path: &str, field: &str| json!({"path": path, "fieldRef": {"fieldPath": field}});
    let volume = json!([{"name": "me", "downwardAPI": {"items": [
        field("labels", "metadata.labels"), field("uid", "metadata.uid"),
        {"path": "memory", "resourceFieldRef": {"containerName": "main", "resource": "limits.memory", "divisor": "1Mi"}},
    ]}}]);
    let mut pod = mounting(
        "self",
        "cat /me/labels; echo; cat /me/uid; echo; cat /me/memory; echo; echo $NODE $IP $ACCOUNT $CPU",
        volume,
    );
    let env = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let container = &mut pod["spec"]["containers"][0];
    container["resources"] =
        json!({"limits": {"memory": "48Mi"}, "requests": {"cpu": "10m", "memory": "48Mi"}});
    container["env"] = json!([
        env("NODE", "spec.nodeName"), env("IP", "status.podIP"), env("ACCOUNT", "spec.serviceAccountName"),
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu", "divisor": "1m"}}},
    ]);
    namespace.apply_all(&[pod])?;
    let log = namespace.finished("self")?;
    let pod = namespace.get("pods/self")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let environment =
        format!("{} {} default 10", text(&pod["spec"]["nodeName"]), text(&pod["status"]["podIP"]));
    let expected = format!("app=\"self\"\n{}\n48\n{environment}\n", text(&pod["metadata"]["uid"]));
    ensure!(log == expected, "{log} is not {expected}");
    Ok(())
}

#[test]
fn the_environment_is_made_of_everything_and_expanded() -> Result<()> {
    let namespace = Namespace::create("volumes")?;
    namespace.kubectl("create configmap settings --from-literal=COLOUR=red --from-literal=SIZE=small")?;
    namespace.kubectl("create secret generic keys --from-literal=key=hidden")?;
    namespace.apply_all(&[manifest::service("web", "web")])?;
    let mut pod = manifest::script("env", "");
    let container = &mut pod["spec"]["containers"][0];
    container["envFrom"] = json!([{"configMapRef": {"name": "settings"}}, {"prefix": "P_", "configMapRef": {"name": "settings"}}]);
    container["env"] = json!([
        {"name": "SIZE", "value": "big"},
        {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "key"}}},
        {"name": "BOTH", "value": "$(SIZE)-$(COLOUR) $$(SIZE) $(NOTHING)"},
    ]);
    container["command"] = json!(["sh", "-c"]);
    container["args"] = json!(["echo \"$COLOUR $SIZE $P_SIZE $SECRET\"; echo \"$BOTH\"; echo '$(BOTH)'; \
                                echo $KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT $WEB_SERVICE_HOST"]);
    namespace.apply_all(&[pod])?;
    let log = namespace.finished("env")?;
    let lines: Vec<&str> = log.lines().collect();
    ensure!(lines[0] == "red big small hidden", "{log}");
    ensure!(lines[1] == "big-red $(SIZE) $(NOTHING)", "{log}");
    ensure!(lines[2] == lines[1], "{log}");
    ensure!(lines[3] == format!("10.96.0.1:443 {}", namespace.cluster_ip("web")?), "{log}");
    Ok(())
}

#[test]
fn a_host_path_is_the_nodes_own() -> Result<()> {
    let namespace = Namespace::create("volumes")?;
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("in"), "from the node")?;
    let volume = json!([{"name": "host", "hostPath": {"path": folder.path(), "type": "Directory"}}]);
    namespace.apply_all(&[mounting("host", "cat /host/in; echo from the pod > /host/out", volume)])?;
    let log = namespace.finished("host")?;
    ensure!(log == "from the node", "{log}");
    ensure!(std::fs::read_to_string(folder.path().join("out"))? == "from the pod\n");
    Ok(())
}

#[test]
fn a_claim_waits_and_says_what_is_missing() -> Result<()> {
    let namespace = Namespace::create("volumes")?;
    namespace.apply_all(&[json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "disk"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    })])?;
    eventually(PATIENCE, "an event says what is missing", || {
        let events = namespace.kubectl("get events --field-selector involvedObject.name=disk")?;
        ensure!(
            events.contains("FailedBinding") && events.contains("no persistent volumes available"),
            "{events}"
        );
        Ok(())
    })?;
    let claim = namespace.get("persistentvolumeclaims/disk")?;
    ensure!(claim["status"]["phase"] == "Pending", "{}", claim["status"]);
    Ok(())
}
