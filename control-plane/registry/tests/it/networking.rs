//! Kinds of networking.k8s.io: defaults, rules, generation.

use crate::fixture::fixture;
use serde_json::{Value, json};

fn policy(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn a_policy_gets_its_types_and_protocols_and_counts_its_changes() {
    let f = fixture().await;
    let spec = json!({"podSelector": {}, "egress": [{"ports": [{"port": 53}]}]});
    let made = f.made("networkpolicies", policy("a", spec)).await;
    assert_eq!(made["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
    assert_eq!(made["spec"]["egress"][0]["ports"][0]["protocol"], "TCP");
    assert_eq!(made["metadata"]["generation"], 1);
    let same = json!({"metadata": {"labels": {"a": "b"}}});
    let same = f.patch("networkpolicies", "a", None, same).await.expect("valid");
    assert_eq!(same["metadata"]["generation"], 1);
    let other = json!({"spec": {"podSelector": {"matchLabels": {"app": "x"}}}});
    let other = f.patch("networkpolicies", "a", None, other).await.expect("valid");
    assert_eq!(other["metadata"]["generation"], 2);
}

#[tokio::test]
async fn a_wrong_policy_is_refused_in_upstreams_words() {
    let f = fixture().await;
    let from = |peer: Value| json!({"podSelector": {}, "ingress": [{"from": [peer]}]});
    let port = |port: Value| json!({"podSelector": {}, "egress": [{"ports": [port]}]});
    let rows = [
        (from(json!({})), "spec.ingress[0].from[0]: Required value: must specify a peer"),
        (
            from(json!({"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}})),
            "spec.ingress[0].from[0]: Forbidden: may not specify both ipBlock and another peer",
        ),
        (from(json!({"ipBlock": {"cidr": ""}})), "spec.ingress[0].from[0].ipBlock.cidr: Required value"),
        (
            from(json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}})),
            "ipBlock.except[0]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`",
        ),
        (from(json!({"ipBlock": {"cidr": "10.0.0.1/8"}})), "ipBlock.cidr: Invalid value: \"10.0.0.1/8\""),
        (
            from(json!({"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}})),
            "spec.ingress[0].from[0].podSelector.matchExpressions[0].values: Required value",
        ),
        (
            port(json!({"port": 80, "endPort": 79})),
            "spec.egress[0].ports[0].endPort: Invalid value: 79: must be greater than or equal to `port`",
        ),
        (port(json!({"endPort": 79})), "may not be specified when `port` is not specified"),
        (port(json!({"port": "http", "endPort": 79})), "may not be specified when `port` is non-numeric"),
        (
            port(json!({"port": 0})),
            "spec.egress[0].ports[0].port: Invalid value: 0: must be between 1 and 65535",
        ),
        (
            json!({"podSelector": {}, "policyTypes": ["X"]}),
            "spec.policyTypes[0]: Unsupported value: \"X\": supported values: \"Egress\", \"Ingress\"",
        ),
        (
            json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress", "Ingress"]}),
            "may not specify more than two policyTypes",
        ),
    ];
    for (spec, message) in rows {
        let status = f.create("networkpolicies", policy("a", spec)).await.map(|_| ());
        let status = status.expect_err("it is wrong");
        assert!(status.message.contains(message), "{status}");
    }
}

fn ingress(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": name}, "spec": spec})
}

fn path(path: Value) -> Value {
    json!({"rules": [{"host": "a.example.com", "http": {"paths": [path]}}]})
}

#[tokio::test]
async fn an_ingress_has_a_status_of_its_own() {
    let f = fixture().await;
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    let spec = path(json!({"path": "/", "pathType": "Prefix", "backend": backend}));
    let made = f.made("ingresses", ingress("a", spec)).await;
    assert_eq!((&made["metadata"]["generation"], &made["status"]), (&json!(1), &json!({"loadBalancer": {}})));
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}});
    let shown = f.patch("ingresses", "a", Some("status"), status).await.expect("valid");
    assert_eq!((&shown["metadata"]["generation"], &shown["spec"]), (&json!(1), &made["spec"]));
    let wrong = json!({"status": {"loadBalancer": {"ingress": [{"hostname": "192.0.2.1"}]}}});
    let wrong = f.patch("ingresses", "a", Some("status"), wrong).await.expect_err("it is wrong");
    assert!(wrong.message.contains("must be a DNS name, not an IP address"), "{wrong}");
    let kept =
        f.patch("ingresses", "a", None, json!({"spec": {"ingressClassName": "x"}})).await.expect("valid");
    assert_eq!((&kept["metadata"]["generation"], &kept["status"]), (&json!(2), &shown["status"]));
}

#[tokio::test]
async fn a_wrong_ingress_is_refused_in_upstreams_words() {
    let f = fixture().await;
    let good = json!({"service": {"name": "web", "port": {"number": 80}}});
    let item = |text: &str, kind: &str| path(json!({"path": text, "pathType": kind, "backend": good}));
    let to = |backend: Value| path(json!({"path": "/", "pathType": "Exact", "backend": backend}));
    let host = |name: &str| json!({"rules": [{"host": name}]});
    let rows = [
        (json!({}), "spec: Invalid value: []: either `defaultBackend` or `rules` must be specified"),
        (
            host("192.0.2.1"),
            "spec.rules[0].host: Invalid value: \"192.0.2.1\": must be a DNS name, not an IP address",
        ),
        (host("a.*.b"), "a wildcard DNS-1123 subdomain must start with '*.'"),
        (path(json!({"backend": good})), "pathType"),
        (
            item("a", "Exact"),
            "spec.rules[0].http.paths[0].path: Invalid value: \"a\": must be an absolute path",
        ),
        (item("/a//b", "Prefix"), "must not contain '//'"),
        (item("/a/..", "Prefix"), "cannot end with '/..'"),
        (
            item("/", "X"),
            "pathType: Unsupported value: \"X\": supported values: \"Exact\", \"ImplementationSpecific\", \"Prefix\"",
        ),
        (to(json!({})), "resource or service backend is required"),
        (to(json!({"service": {"name": "web"}})), "port name or number is required"),
        (
            to(json!({"service": {"name": "web", "port": {"number": 80, "name": "a"}}})),
            "cannot set both port name & port number",
        ),
        (
            to(json!({"service": {"name": "Web", "port": {"number": 80}}})),
            "backend.service.name: Invalid value: \"Web\"",
        ),
        (to(json!({"resource": {"kind": "", "name": "a"}})), "backend.resource.kind: Required value"),
        (
            json!({"defaultBackend": good, "tls": [{"hosts": ["A"]}]}),
            "spec.tls[0].hosts[0]: Invalid value: \"A\"",
        ),
        (
            json!({"defaultBackend": good, "ingressClassName": "A"}),
            "spec.ingressClassName: Invalid value: \"A\"",
        ),
    ];
    for (spec, message) in rows {
        let status = f.create("ingresses", ingress("a", spec.clone())).await.map(|_| ());
        let status = status.expect_err("it is wrong");
        assert!(status.message.contains(message), "{spec}: {status}");
    }
}

#[tokio::test]
async fn a_class_keeps_its_controller() {
    let f = fixture().await;
    let class = |spec: Value| json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "a"}, "spec": spec});
    let parameters = |more: Value| {
        let mut parameters = json!({"kind": "K", "name": "n"});
        parameters.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        class(json!({"controller": "example.com/c", "parameters": parameters}))
    };
    let rows = [
        (class(json!({})), "spec.controller: Required value"),
        (class(json!({"controller": "c"})), "must be a domain-prefixed path"),
        (parameters(json!({"scope": "Namespace"})), "spec.parameters.namespace: Required value"),
        (
            parameters(json!({"namespace": "n"})),
            "spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'",
        ),
        (parameters(json!({"scope": "X"})), "spec.parameters.scope: Unsupported value: \"X\""),
    ];
    for (body, message) in rows {
        let status = f.create("ingressclasses", body).await.map(|_| ()).expect_err("it is wrong");
        assert!(status.message.contains(message), "{status}");
    }
    let made = f.made("ingressclasses", parameters(json!({}))).await;
    assert_eq!(made["spec"]["parameters"]["scope"], "Cluster");
    let other = f.patch("ingressclasses", "a", None, json!({"spec": {"controller": "example.com/d"}})).await;
    assert!(
        other
            .expect_err("fixed")
            .message
            .contains("spec.controller: Invalid value: \"example.com/d\": field is immutable")
    );
}
