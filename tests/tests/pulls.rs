//! Images from a registry: when they are pulled, with which credentials, and what is said when that fails.

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use keelson_tests::{
    Namespace, PATIENCE, Registry, eventually, manifest,
    registry::{PASSWORD, USER},
};
use serde_json::{Value, json};
use std::time::Duration;

/// All pods of a test share a node, and with it the images.
const NODE: &str = "n1";
/// What containerd says of a registry that asks for credentials, or for other ones.
const UNAUTHORIZED: &str = "401 Unauthorized";

fn pod(name: &str, image: &str, policy: &str) -> Value {
    let mut pod = manifest::on_node(manifest::shell(name), NODE);
    // The image's own process waits to be ended; there is nothing else in it.
    pod["spec"]["containers"][0] = json!({"name": "main", "image": image, "imagePullPolicy": policy});
    pod
}

fn status(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

fn image_id(pod: &Value) -> &str {
    status(pod)["imageID"].as_str().unwrap_or_default()
}

/// Type, reason, message, count and last time of a pod's events.
struct Told(Vec<Value>);

impl Told {
    fn of(namespace: &Namespace, pod: &str) -> Result<Told> {
        let mut all = namespace.list("events", "")?;
        all.retain(|event| event["involvedObject"]["name"] == pod);
        Ok(Told(all))
    }

    fn find(&self, kind: &str, reason: &str, part: &str) -> Option<&Value> {
        self.0.iter().find(|event| {
            let message = event["message"].as_str().unwrap_or_default();
            event["type"] == kind && event["reason"] == reason && message.contains(part)
        })
    }
}

/// Waits until the pod has been told of this.
fn told(namespace: &Namespace, pod: &str, kind: &str, reason: &str, part: &str) -> Result<Value> {
    eventually(PATIENCE, &format!("an event of {pod}: {kind} {reason} {part}"), || {
        let all = Told::of(namespace, pod)?;
        Ok(all.find(kind, reason, part).context("there is none")?.clone())
    })
}

/// Waits until the container waits for this reason; answers the message.
fn waiting(namespace: &Namespace, pod: &str, reason: &str) -> Result<String> {
    eventually(PATIENCE, &format!("{pod} waits for {reason}"), || {
        let pod = namespace.get(&format!("pods/{pod}"))?;
        let waiting = &status(&pod)["state"]["waiting"];
        ensure!(waiting["reason"] == reason, "its state is {}", status(&pod)["state"]);
        Ok(waiting["message"].as_str().unwrap_or_default().to_string())
    })
}

/// Whether a message of either shape of a pull's failure holds a part: both hold the registry's answer.
fn refused(namespace: &Namespace, pod: &str, part: &str) -> Result<()> {
    let failed = format!("pod {pod} cannot pull, because of {part}");
    eventually(PATIENCE, &failed, || {
        let pod = namespace.get(&format!("pods/{pod}"))?;
        let waiting = &status(&pod)["state"]["waiting"];
        let reason = waiting["reason"].as_str().unwrap_or_default();
        ensure!(["ErrImagePull", "ImagePullBackOff"].contains(&reason), "{}", status(&pod)["state"]);
        let message = waiting["message"].as_str().unwrap_or_default();
        ensure!(message.contains(part), "{message}");
        Ok(())
    })
}

#[test]
fn an_image_is_pulled_by_tag_and_by_digest() -> Result<()> {
    let (registry, namespace) = (Registry::open()?, Namespace::create("pulls")?);
    let digest = registry.push("team/app", "1")?;
    let (by_tag, by_digest) = (registry.image("team/app:1"), registry.image(&format!("team/app@{digest}")));
    namespace.apply_all(&[pod("tag", &by_tag, "IfNotPresent"), pod("digest", &by_digest, "IfNotPresent")])?;
    for (name, image) in [("tag", &by_tag), ("digest", &by_digest)] {
        let pod = namespace.ready(name)?;
        ensure!(image_id(&pod) == by_digest, "{name} runs {}", status(&pod));
        ensure!(status(&pod)["image"] == *image, "{}", status(&pod));
    }
    let pulling = told(&namespace, "tag", "Normal", "Pulling", &format!("Pulling image \"{by_tag}\""))?;
    ensure!(pulling["involvedObject"]["fieldPath"] == "spec.containers{main}", "{pulling}");
    let pulled =
        told(&namespace, "tag", "Normal", "Pulled", &format!("Successfully pulled image \"{by_tag}\" in "))?;
    let message = pulled["message"].as_str().unwrap_or_default();
    ensure!(message.contains(" including waiting). Image size: "), "{message}");
    Ok(())
}

#[test]
fn the_policy_decides_whether_the_registry_is_asked() -> Result<()> {
    let (registry, namespace) = (Registry::open()?, Namespace::create("pulls")?);
    let old = registry.push("app", "latest")?;
    let image = registry.image("app");
    namespace.apply_all(&[pod("first", &image, "IfNotPresent")])?;
    ensure!(image_id(&namespace.ready("first")?).ends_with(&old));
    let new = registry.push("app", "latest")?;
    ensure!(old != new, "each push is an image of its own");

    namespace.apply_all(&[pod("present", &image, "IfNotPresent"), pod("never", &image, "Never")])?;
    for name in ["present", "never"] {
        ensure!(image_id(&namespace.ready(name)?).ends_with(&old), "{name} has asked the registry");
        let text = format!("Container image \"{image}\" already present on machine");
        told(&namespace, name, "Normal", "Pulled", &text)?;
        ensure!(Told::of(&namespace, name)?.find("Normal", "Pulling", "").is_none(), "{name} says it pulls");
    }
    // Without a tag, and without a policy: Always.
    let mut default = pod("default", &image, "");
    default["spec"]["containers"][0].as_object_mut().context("an object")?.remove("imagePullPolicy");
    namespace.apply_all(&[default])?;
    let pod = namespace.ready("default")?;
    ensure!(image_id(&pod).ends_with(&new), "it runs {} and not {new}", status(&pod));
    Ok(())
}

#[test]
fn the_policy_follows_from_the_tag() -> Result<()> {
    let namespace = Namespace::create("pulls")?;
    let digest = format!("registry.invalid/app@sha256:{}", "0".repeat(64));
    for (name, image, policy) in [
        ("no-tag", "registry.invalid/app", "Always"),
        ("latest", "registry.invalid:5000/app:latest", "Always"),
        ("port", "registry.invalid:5000/app", "Always"),
        ("tag", "registry.invalid/app:1", "IfNotPresent"),
        ("digest", &digest, "IfNotPresent"),
    ] {
        let mut pod = manifest::shell(name);
        // Never scheduled: only its defaults are looked at.
        pod["spec"]["schedulerName"] = json!("none");
        pod["spec"]["containers"][0]["image"] = json!(image);
        namespace.apply_all(&[pod])?;
        let container = namespace.get(&format!("pods/{name}"))?["spec"]["containers"][0].take();
        ensure!(container["imagePullPolicy"] == policy, "{image}: {}", container["imagePullPolicy"]);
    }
    Ok(())
}

#[test]
fn never_waits_until_another_brings_the_image() -> Result<()> {
    let (registry, namespace) = (Registry::open()?, Namespace::create("pulls")?);
    registry.push("app", "1")?;
    let image = registry.image("app:1");
    namespace.apply_all(&[pod("never", &image, "Never")])?;
    let message = waiting(&namespace, "never", "ErrImageNeverPull")?;
    let text = format!("Container image \"{image}\" is not present with pull policy of Never");
    ensure!(message == text, "{message}");
    told(&namespace, "never", "Warning", "ErrImageNeverPull", &text)?;
    told(&namespace, "never", "Warning", "Failed", "Error: ErrImageNeverPull")?;
    namespace.apply_all(&[pod("other", &image, "IfNotPresent")])?;
    namespace.ready("other")?;
    namespace.ready("never")?;
    Ok(())
}

fn seconds(event: &Value) -> Result<f64> {
    let text = event["lastTimestamp"].as_str().context("an event has a time")?;
    let time: k8s_openapi::jiff::Timestamp = text.parse()?;
    Ok(time.as_millisecond() as f64 / 1000.0)
}

#[test]
fn a_missing_image_is_tried_ever_more_rarely_until_it_is_another() -> Result<()> {
    let (registry, namespace) = (Registry::open()?, Namespace::create("pulls")?);
    registry.push("app", "right")?;
    let image = registry.image("app:wrong");
    namespace.apply_all(&[pod("typo", &image, "IfNotPresent")])?;
    let error = waiting(&namespace, "typo", "ErrImagePull")?;
    ensure!(error.contains(&image) && error.contains("not found"), "{error}");
    let message = waiting(&namespace, "typo", "ImagePullBackOff")?;
    ensure!(message == format!("Back-off pulling image \"{image}\": ErrImagePull: {error}"), "{message}");
    told(&namespace, "typo", "Warning", "Failed", &format!("Failed to pull image \"{image}\": {error}"))?;
    told(&namespace, "typo", "Warning", "Failed", "Error: ErrImagePull")?;
    told(&namespace, "typo", "Warning", "Failed", "Error: ImagePullBackOff")?;
    told(&namespace, "typo", "Normal", "BackOff", &format!("Back-off pulling image \"{image}\""))?;

    let mut tries = Vec::new();
    eventually(PATIENCE, "three tries", || {
        let event = told(&namespace, "typo", "Normal", "Pulling", &image)?;
        let count = event["count"].as_u64().context("an event has a count")? as usize;
        if count > tries.len() {
            tries.push(seconds(&event)?);
        }
        ensure!(tries.len() >= 3, "{count} tries so far");
        Ok(())
    })?;
    let pauses: Vec<f64> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
    ensure!((9.0..16.0).contains(&pauses[0]) && (19.0..30.0).contains(&pauses[1]), "paused for {pauses:?} s");

    // The next try of this image is 40 s away; that of another is not.
    let right = registry.image("app:right");
    let began = std::time::Instant::now();
    namespace.kubectl(&format!("set image pod/typo main={right}"))?;
    namespace.ready("typo")?;
    ensure!(began.elapsed() < Duration::from_secs(20), "it took {:?}", began.elapsed());
    Ok(())
}

#[test]
fn a_registry_that_is_not_there_and_a_name_that_is_none_are_told_apart() -> Result<()> {
    let namespace = Namespace::create("pulls")?;
    // Nothing listens on this port of the node itself.
    namespace
        .apply_all(&[pod("away", "127.0.0.1:9/app:1", "IfNotPresent"), pod("odd", "team/App:1", "Always")])?;
    refused(&namespace, "away", "connection refused")?;
    let message = waiting(&namespace, "odd", "InvalidImageName")?;
    let why = "Failed to apply default image tag \"team/App:1\": couldn't parse image name \"team/App:1\": invalid \
               reference format: repository name (team/App) must be lowercase";
    ensure!(message == why, "{message}");
    told(&namespace, "odd", "Warning", "InspectFailed", &message)?;
    told(&namespace, "odd", "Warning", "Failed", "Error: InvalidImageName")?;
    Ok(())
}

/// Registry, user and password.
type Entry<'a> = (&'a str, &'a str, &'a str);

/// A Secret of either type with one entry a registry.
fn secret(name: &str, entries: &[Entry<'_>], legacy: bool) -> Value {
    let entry = |(registry, user, password): &Entry<'_>| {
        (registry.to_string(), json!({"auth": STANDARD.encode(format!("{user}:{password}"))}))
    };
    let entries: serde_json::Map<String, Value> = entries.iter().map(entry).collect();
    let (kind, key, content) = if legacy {
        ("kubernetes.io/dockercfg", ".dockercfg", json!(entries))
    } else {
        ("kubernetes.io/dockerconfigjson", ".dockerconfigjson", json!({"auths": entries}))
    };
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": kind,
        "metadata": {"name": name}, "data": {key: STANDARD.encode(content.to_string())},
    })
}

fn with_secrets(mut pod: Value, names: &[&str]) -> Value {
    pod["spec"]["imagePullSecrets"] = names.iter().map(|name| json!({"name": name})).collect();
    pod
}

#[test]
fn pull_secrets_of_both_types_and_of_the_account_open_a_registry() -> Result<()> {
    let (registry, namespace) = (Registry::with_password()?, Namespace::create("pulls")?);
    for name in ["modern", "legacy", "account", "none", "wrong", "missing"] {
        registry.push(name, "1")?;
    }
    let own = |name: &str| pod(name, &registry.image(&format!("{name}:1")), "IfNotPresent");
    let address = registry.address.as_str();
    namespace.kubectl(&[
        "create",
        "secret",
        "docker-registry",
        "modern",
        &format!("--docker-server={address}"),
        &format!("--docker-username={USER}"),
        &format!("--docker-password={PASSWORD}"),
    ])?;
    namespace.apply_all(&[
        secret("legacy", &[(&format!("http://{address}/v2/"), USER, PASSWORD)], true),
        secret("wrong", &[(address, USER, "battery staple")], false),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "puller"},
               "imagePullSecrets": [{"name": "modern"}]}),
    ])?;
    let mut account = own("account");
    account["spec"]["serviceAccountName"] = json!("puller");
    namespace.apply_all(&[
        with_secrets(own("modern"), &["modern"]),
        with_secrets(own("legacy"), &["legacy"]),
        account,
        own("none"),
        with_secrets(own("wrong"), &["wrong"]),
        with_secrets(own("missing"), &["absent"]),
    ])?;
    for name in ["modern", "legacy", "account"] {
        namespace.ready(name)?;
    }
    let merged = namespace.get("pods/account")?["spec"]["imagePullSecrets"].take();
    ensure!(merged == json!([{"name": "modern"}]), "the account's secrets are not the pod's: {merged}");
    for name in ["none", "wrong", "missing"] {
        refused(&namespace, name, UNAUTHORIZED)?;
    }
    let text =
        "Unable to retrieve some image pull secrets (absent); attempting to pull the image may not succeed.";
    told(&namespace, "missing", "Warning", "FailedToRetrieveImagePullSecret", text)?;
    ensure!(
        Told::of(&namespace, "wrong")?.find("Warning", "FailedToRetrieveImagePullSecret", "").is_none(),
        "the secret was there"
    );
    // The secret that was missing comes: the next try has it.
    namespace.apply_all(&[secret("absent", &[(address, USER, PASSWORD)], false)])?;
    namespace.ready("missing")?;
    Ok(())
}

#[test]
fn credentials_are_matched_by_host_port_and_path() -> Result<()> {
    let (registry, namespace) = (Registry::with_password()?, Namespace::create("pulls")?);
    let address = registry.address.as_str();
    let (host, port) = address.split_once(':').context("an address has a port")?;
    let glob = format!("172.*.?.[0-1]:{port}");
    let (team, other) = (format!("{address}/team"), format!("{address}/other"));
    let cases: [(&str, &[Entry<'_>], bool); 4] = [
        // The registry would answer the general one with 401: the next is tried.
        ("specific", &[(address, USER, "wrong"), (&team, USER, PASSWORD)], true),
        ("glob", &[(&glob, USER, PASSWORD)], true),
        ("port", &[(host, USER, PASSWORD)], false),
        ("path", &[(&other, USER, PASSWORD)], false),
    ];
    for (name, entries, _) in cases {
        registry.push(&format!("team/{name}"), "1")?;
        let pod = pod(name, &registry.image(&format!("team/{name}:1")), "IfNotPresent");
        namespace.apply_all(&[secret(name, entries, false), with_secrets(pod, &[name])])?;
    }
    for (name, _, pulls) in cases {
        if pulls {
            namespace.ready(name)?;
        } else {
            refused(&namespace, name, UNAUTHORIZED)?;
        }
    }
    Ok(())
}

#[test]
fn pods_that_pull_one_image_at_once_all_run_it() -> Result<()> {
    let (registry, namespace) = (Registry::open()?, Namespace::create("pulls")?);
    let digest = registry.push("web", "1")?;
    let image = registry.image("web:1");
    let pods: Vec<Value> = (0..6)
        .map(|number| {
            pod(&format!("web-{number}"), &image, if number % 2 == 0 { "Always" } else { "IfNotPresent" })
        })
        .collect();
    namespace.apply_all(&pods)?;
    for number in 0..6 {
        let pod = namespace.ready(&format!("web-{number}"))?;
        ensure!(image_id(&pod) == registry.image(&format!("web@{digest}")), "{}", status(&pod));
        ensure!(status(&pod)["restartCount"] == 0, "{}", status(&pod));
    }
    Ok(())
}

#[test]
fn an_image_pulled_with_a_secret_is_not_for_pods_without_one() -> Result<()> {
    let (registry, namespace) = (Registry::with_password()?, Namespace::create("pulls")?);
    registry.push("app", "1")?;
    let (image, address) = (registry.image("app:1"), registry.address.as_str());
    namespace.apply_all(&[
        secret("right", &[(address, USER, PASSWORD)], false),
        secret("copy", &[(address, USER, PASSWORD)], false),
        with_secrets(pod("holder", &image, "IfNotPresent"), &["right"]),
    ])?;
    namespace.ready("holder")?;
    namespace.apply_all(&[
        with_secrets(pod("again", &image, "IfNotPresent"), &["right"]),
        with_secrets(pod("same-content", &image, "Never"), &["copy"]),
        pod("stranger", &image, "IfNotPresent"),
        pod("never", &image, "Never"),
    ])?;
    for name in ["again", "same-content"] {
        namespace.ready(name)?;
        ensure!(Told::of(&namespace, name)?.find("Normal", "Pulling", "").is_none(), "{name} has pulled");
    }
    refused(&namespace, "stranger", UNAUTHORIZED)?;
    waiting(&namespace, "never", "ErrImageNeverPull")?;
    Ok(())
}
