//! How long decoding, defaulting and patching a pod of some 3 kB takes: the fastest of many batches, in microseconds.

use std::hint::black_box;
use std::time::Instant;

use keelson_schema::{ContentType, FieldValidation, Schemas, decode, defaults, patch};
use serde_json::{Value, json};

const BATCHES: u32 = 100;
const ROUNDS_PER_BATCH: u32 = 200;

fn main() {
    let started = Instant::now();
    let pod = Schemas::builtin().kind("", "v1", "Pod").expect("Pod is built in");
    println!("loading the schema     {:8.1} us", started.elapsed().as_secs_f64() * 1e6);

    let body = pod_of_three_kilobytes().to_string().into_bytes();
    println!("size of the pod        {:8} bytes", body.len());
    let read = |body: &[u8]| {
        decode(body, ContentType::Json, pod, FieldValidation::Strict).expect("a good pod").value
    };
    let mut value = read(&body);
    defaults::apply(pod, &mut value);
    let change = br#"{"spec":{"containers":[{"name":"web","image":"nginx:2"}]}}"#;

    measure("serde_json to Value", || drop(black_box(serde_json::from_slice::<Value>(&body))));
    measure("decode", || drop(black_box(read(&body))));
    measure("apply defaults again", || defaults::apply(pod, black_box(&mut value)));
    measure("clone", || drop(black_box(value.clone())));
    measure("strategic merge patch", || drop(black_box(patch::strategic(pod, value.clone(), change))));
}

fn measure(what: &str, mut run: impl FnMut()) {
    let batch = || {
        let started = Instant::now();
        (0..ROUNDS_PER_BATCH).for_each(|_| run());
        started.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS_PER_BATCH)
    };
    let fastest = std::iter::repeat_with(batch).take(BATCHES as usize).fold(f64::INFINITY, f64::min);
    println!("{what:22} {fastest:8.2} us");
}

fn pod_of_three_kilobytes() -> Value {
    let probe = json!({"httpGet": {"path": "/healthz", "port": "http", "scheme": "HTTP"}, "periodSeconds": 10,
        "timeoutSeconds": 1, "successThreshold": 1, "failureThreshold": 3});
    let env: Vec<Value> =
        (0..10).map(|i| json!({"name": format!("SETTING_{i}"), "value": "some value"})).collect();
    let container = json!({
        "name": "web", "image": "nginx:1.27", "imagePullPolicy": "IfNotPresent", "args": ["--verbose", "--port=80"],
        "ports": [{"name": "http", "containerPort": 80, "protocol": "TCP"}], "env": env,
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}},
        "livenessProbe": probe, "readinessProbe": probe,
        "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "config", "mountPath": "/etc/app", "readOnly": true}],
        "securityContext": {"runAsNonRoot": true, "capabilities": {"drop": ["ALL"]}},
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
    });
    let mut sidecar = container.clone();
    sidecar["name"] = "sidecar".into();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "web-5d8f7c9b6d-x2x7k", "namespace": "default", "uid": "0b6f1e0c-5a0e-4a59-9d0f-5f0c9a2f0b6f",
            "creationTimestamp": "2026-01-02T03:04:05Z", "labels": {"app": "web", "pod-template-hash": "5d8f7c9b6d"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d8f7c9b6d",
                "uid": "1c6f1e0c-5a0e-4a59-9d0f-5f0c9a2f0b6f", "controller": true, "blockOwnerDeletion": true}],
        },
        "spec": {
            "containers": [container, sidecar], "restartPolicy": "Always", "nodeName": "node-1",
            "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst", "serviceAccountName": "default",
            "volumes": [{"name": "data", "emptyDir": {"sizeLimit": "1Gi"}}, {"name": "config", "configMap": {"name": "web"}}],
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
        },
        "status": {"phase": "Running", "podIP": "10.244.1.7", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-02T03:04:06Z"}]},
    })
}
