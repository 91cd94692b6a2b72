//! The objects that many tests need. All images are those that `cargo xtask images` makes; none is pulled.

use serde_json::{Value, json};

/// For a shell.
pub const BUSYBOX: &str = "busybox:1.35";
/// For serving; it ends its work before it ends on the image's stop signal.
pub const NGINX: &str = "nginx:1.22";
/// The same program under another name, to roll over to.
pub const NGINX_NEXT: &str = "nginx:1.22.1";

/// A pod that runs a shell script and is done when the script is. A signal ends it at once.
pub fn script(name: &str, script: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": BUSYBOX, "command": ["sh", "-c", script]}],
        },
    })
}

/// A pod that waits to be used by `kubectl exec`.
pub fn shell(name: &str) -> Value {
    script(name, "exec sleep 1000000")
}

/// Any pod, but on this node.
pub fn on_node(mut pod: Value, node: &str) -> Value {
    pod["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": node});
    pod
}

/// nginx that answers every request with one line: `answer`, or the pod's name if that is `$HOSTNAME`. Ready when it listens.
pub fn answering(answer: &str) -> Value {
    let start = format!("echo {answer} > /usr/share/nginx/html/index.html; exec nginx -g 'daemon off;'");
    json!({
        "name": "nginx", "image": NGINX, "command": ["sh", "-c", start],
        "ports": [{"containerPort": 80}],
        "readinessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 1},
    })
}

/// A Deployment of pods with one container, labelled `app: <name>`, which end quickly.
pub fn deployment(name: &str, replicas: u32, container: Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 5, "containers": [container]},
            },
        },
    })
}

/// A Service on port 80 for the pods labelled `app: <app>`.
pub fn service(name: &str, app: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": app}, "ports": [{"port": 80, "targetPort": 80}]},
    })
}
