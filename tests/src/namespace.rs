//! A namespace of one test: made with it, deleted after it, also when it fails.

use crate::{
    api,
    cluster::Cluster,
    eventually,
    kubectl::{self, Answer, Words},
    wait::PATIENCE,
};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{process::Command, sync::Mutex, time::Duration};

/// Names of the namespaces that this process made and has not deleted yet.
static LIVING: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// For the diagnosis of a failed wait.
pub(crate) fn living() -> Vec<String> {
    LIVING.lock().map(|names| names.clone()).unwrap_or_default()
}

/// A namespace that goes when this value goes.
pub struct Namespace {
    /// Unique over all tests and runs.
    pub name: String,
}

impl Namespace {
    /// Makes a namespace whose name starts with `topic`, and waits until pods can be made in it.
    pub fn create(topic: &str) -> Result<Namespace> {
        Cluster::require_any()?;
        let name = format!("{topic}-{:06x}", rand::random::<u32>() & 0xff_ffff);
        api::create("/api/v1/namespaces", &json!({"metadata": {"name": name}}))?;
        let namespace = Namespace { name };
        LIVING.lock().expect("nobody panics with it").push(namespace.name.clone());
        // Admission refuses pods until the default ServiceAccount is there.
        eventually(PATIENCE, "the default ServiceAccount", || namespace.get("serviceaccounts/default"))?;
        Ok(namespace)
    }

    /// The path of a core resource, or of one in an API group: `pods/web`, `apps/v1/deployments/web`.
    pub fn path(&self, resource: &str) -> String {
        let parts: Vec<&str> = resource.split('/').collect();
        let is_version =
            |word: &&str| word.strip_prefix('v').is_some_and(|v| v.starts_with(char::is_numeric));
        match parts.get(1).filter(|word| is_version(word)) {
            Some(version) => {
                format!("/apis/{}/{version}/namespaces/{}/{}", parts[0], self.name, parts[2..].join("/"))
            }
            None => format!("/api/v1/namespaces/{}/{resource}", self.name),
        }
    }

    /// An object of this namespace, by [`Namespace::path`].
    pub fn get(&self, resource: &str) -> Result<Value> {
        api::get(&self.path(resource))
    }

    /// The objects of a collection of this namespace that match a label selector (empty: all).
    pub fn list(&self, resource: &str, labels: &str) -> Result<Vec<Value>> {
        api::list(&format!("{}?labelSelector={}", self.path(resource), labels.replace('=', "%3D")))
    }

    fn words<W: Words + ?Sized>(&self, words: &W) -> Vec<String> {
        let mut all = vec!["-n".to_string(), self.name.clone()];
        all.extend(words.words());
        all
    }

    /// kubectl in this namespace, which has to succeed.
    pub fn kubectl<W: Words + ?Sized>(&self, words: &W) -> Result<String> {
        kubectl::kubectl(&self.words(words))
    }

    /// kubectl in this namespace, which has to fail; answers its error text.
    pub fn refused<W: Words + ?Sized>(&self, words: &W, stdin: Option<&str>) -> Result<String> {
        kubectl::refused(&self.words(words), stdin)
    }

    /// kubectl in this namespace, however it ends.
    pub fn answer<W: Words + ?Sized>(&self, words: &W, stdin: Option<&str>) -> Result<Answer> {
        kubectl::answer(&self.words(words), stdin)
    }

    /// kubectl in this namespace, not yet started.
    pub fn command<W: Words + ?Sized>(&self, words: &W) -> Result<Command> {
        kubectl::command(&self.words(words))
    }

    /// `kubectl apply -f -` of a text.
    pub fn apply(&self, yaml: &str) -> Result<String> {
        kubectl::with_input(&self.words("apply -f -"), Some(yaml))
    }

    /// The same of objects.
    pub fn apply_all(&self, objects: &[Value]) -> Result<String> {
        self.apply(&json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string())
    }

    /// A shell script in a running container of a pod.
    pub fn shell(&self, pod: &str, script: &str) -> Result<String> {
        self.kubectl(&["exec", pod, "--", "sh", "-c", script])
    }

    /// Waits until a pod is Ready; answers it.
    pub fn ready(&self, pod: &str) -> Result<Value> {
        eventually(PATIENCE, &format!("pod {pod} is Ready"), || {
            let pod = self.get(&format!("pods/{pod}"))?;
            ensure!(is_ready(&pod), "its status is {}", pod["status"]);
            Ok(pod)
        })
    }

    /// Waits until a pod has ended; answers its log when it succeeded.
    pub fn finished(&self, pod: &str) -> Result<String> {
        let phase = eventually(PATIENCE, &format!("pod {pod} has ended"), || {
            let pod = self.get(&format!("pods/{pod}"))?;
            let phase = pod["status"]["phase"].as_str().unwrap_or_default().to_string();
            ensure!(phase == "Succeeded" || phase == "Failed", "its status is {}", pod["status"]);
            Ok(phase)
        })?;
        let log = self.kubectl(&["logs", pod])?;
        ensure!(phase == "Succeeded", "pod {pod} failed:\n{log}");
        Ok(log)
    }

    /// Waits until exactly `count` pods of the selector exist, all Ready and none about to go; answers them.
    pub fn ready_pods(&self, labels: &str, count: usize) -> Result<Vec<Value>> {
        eventually(PATIENCE, &format!("exactly {count} pods of {labels}, all Ready"), || {
            let pods = self.list("pods", labels)?;
            let lasting = |pod: &&Value| is_ready(pod) && pod["metadata"]["deletionTimestamp"].is_null();
            let ready = pods.iter().filter(lasting).count();
            ensure!(pods.len() == count && ready == count, "{} pods, {ready} Ready and staying", pods.len());
            Ok(pods)
        })
    }

    /// Waits until the Service's slices name exactly `count` ready endpoints; answers their addresses, sorted.
    pub fn endpoints(&self, service: &str, count: usize) -> Result<Vec<String>> {
        eventually(PATIENCE, &format!("Service {service} has {count} ready endpoints"), || {
            let mut addresses = ready_endpoints(&self.list(
                "discovery.k8s.io/v1/endpointslices",
                &format!("kubernetes.io/service-name={service}"),
            )?);
            addresses.sort();
            ensure!(addresses.len() == count, "ready are {addresses:?}");
            Ok(addresses)
        })
    }

    /// The cluster IP of a Service.
    pub fn cluster_ip(&self, service: &str) -> Result<String> {
        let object = self.get(&format!("services/{service}"))?;
        Ok(object["spec"]["clusterIP"].as_str().context("a Service without clusterIP")?.to_string())
    }

    /// The full DNS name of a Service.
    pub fn dns_name(&self, service: &str) -> String {
        format!("{service}.{}.svc.cluster.local", self.name)
    }

    /// Deletes it now, and waits until nothing of it is left.
    pub fn delete_and_wait(self, timeout: Duration) -> Result<()> {
        let path = format!("/api/v1/namespaces/{}", self.name);
        api::delete(&path)?;
        eventually(timeout, "the namespace is gone", || match api::find(&path)? {
            None => Ok(()),
            Some(object) => anyhow::bail!("its status is {}", object["status"]),
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Ok(mut names) = LIVING.lock() {
            names.retain(|name| *name != self.name);
        }
        // Nobody waits: the next test has a namespace of its own.
        if let Err(error) = api::delete(&format!("/api/v1/namespaces/{}", self.name)) {
            eprintln!("namespace {} stays: {error:#}", self.name);
        }
    }
}

/// Whether a pod's condition Ready is True.
pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// Addresses of the ready endpoints of slices; a missing condition counts as ready (the API's rule).
fn ready_endpoints(slices: &[Value]) -> Vec<String> {
    let endpoints = slices.iter().flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
    let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] != false);
    ready.filter_map(|endpoint| endpoint["addresses"][0].as_str()).map(str::to_string).collect()
}
