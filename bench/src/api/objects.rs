//! What is written and read: pods of about 3 kB as they are stored, in a namespace of their own.

use serde_json::{Value, json};

/// The namespace.
pub(super) const NAMESPACE: &str = "bench";
/// Labels `group` by which a list selects one in so many.
const GROUPS: usize = 100;
/// Stand for a pod's name and group in the text that all are made of.
const NAME: &str = "NAME-OF-IT";
const GROUP: &str = "GROUP-OF-IT";

/// Texts of requests.
pub(super) struct Objects {
    pod: String,
    status: String,
}

impl Objects {
    pub(super) fn new() -> Objects {
        Objects { pod: pod().to_string(), status: status().to_string() }
    }

    pub(super) fn pod(&self, index: usize) -> String {
        self.pod.replace(NAME, &name(index)).replace(GROUP, &format!("group-{:02}", index % GROUPS))
    }

    /// A status that differs from that of another number.
    pub(super) fn status(&self, number: usize) -> String {
        self.status
            .replace(NAME, &format!("10.{}.{}.{}", number >> 16 & 255, number >> 8 & 255, number & 255))
    }
}

fn name(index: usize) -> String {
    format!("web-7d4b9c6f5d-{index:06}")
}

/// The path of all pods.
pub(super) fn collection(query: &str) -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/pods{query}")
}

/// The path of a pod or a subresource of it.
pub(super) fn item(index: usize, sub: &str) -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/pods/{}{sub}", name(index))
}

/// A pod of `pods`, each time another one and in no order that a cache would know.
pub(super) fn scattered(number: usize, pods: usize) -> usize {
    // Any number without a common factor does; so does this prime.
    number.wrapping_mul(7_919) % pods
}

fn pod() -> Value {
    let env: Vec<Value> =
        (0..2).map(|at| json!({"name": format!("SETTING_{at}"), "value": "value".repeat(4)})).collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": NAME, "generateName": "web-7d4b9c6f5d-",
            "labels": {"app": "web", "group": GROUP, "pod-template-hash": "7d4b9c6f5d"},
        },
        "spec": {
            "serviceAccountName": "default",
            "containers": [{
                "name": "web", "image": "registry.example/team/web:1.2.3", "env": env,
                "ports": [{"name": "http", "containerPort": 8080}],
                "readinessProbe": {"httpGet": {"port": "http", "path": "/ready"}},
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
            }],
        },
    })
}

/// As a kubelet reports a running pod.
fn status() -> Value {
    let time = "2026-01-02T03:04:05Z";
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": time});
    let conditions = ["Initialized", "Ready", "ContainersReady", "PodScheduled"].map(condition);
    json!({"status": {
        "phase": "Running", "podIP": NAME, "podIPs": [{"ip": NAME}], "hostIP": "10.0.0.1", "startTime": time,
        "conditions": conditions,
        "containerStatuses": [{
            "name": "web", "image": "registry.example/team/web:1.2.3", "imageID": "sha256:0", "ready": true, "started": true,
            "restartCount": 0, "state": {"running": {"startedAt": time}},
        }],
    }})
}
