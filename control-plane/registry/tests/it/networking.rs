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
