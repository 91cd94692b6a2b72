//! What a node writes, by a certificate that was really signed, over TLS, through authorization and admission: of each sort its own
//! once, and once another's or too much.

use super::*;
use crate::tests::certificates::Served;
use base64::{Engine, prelude::BASE64_STANDARD};

const NODES: &str = "/api/v1/nodes";
const PODS: &str = "/api/v1/namespaces/default/pods";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
const CSI_NODES: &str = "/apis/storage.k8s.io/v1/csinodes";
const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const TOKENS: &str = "/api/v1/namespaces/default/serviceaccounts/account/token";

/// METHOD, path, body, and the code that a node n1 hears, with a text of the answer.
type Row<'a> = (&'a str, String, Value, u16, &'a str);

fn pod(name: &str, node: &str) -> Value {
    let token = json!({"serviceAccountToken": {"path": "t", "audience": "vault"}});
    json!({
        "metadata": {"name": name},
        "spec": {
            "nodeName": node, "serviceAccountName": "account", "automountServiceAccountToken": false,
            "containers": [{"name": "c", "image": "i"}],
            "volumes": [
                {"name": "t", "projected": {"sources": [token]}},
                {"name": "s", "configMap": {"name": "settings"}},
            ],
        },
    })
}

fn mirror(owner: &Value) -> Value {
    let owner = json!({"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": owner["metadata"]["uid"], "controller": true});
    json!({
        "metadata": {"name": "mirror", "annotations": {"kubernetes.io/config.mirror": "x"}, "ownerReferences": [owner]},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]},
    })
}

fn lease(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"holderIdentity": name}})
}

fn csi_node(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"drivers": []}})
}

fn request(name: &str, node: &str) -> Value {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(rcgen::DnType::CommonName, format!("system:node:{node}"));
    let key = rcgen::KeyPair::generate().unwrap();
    let pem = params.serialize_request(&key).unwrap().pem().unwrap();
    json!({
        "metadata": {"name": name},
        "spec": {
            "signerName": "kubernetes.io/kube-apiserver-client-kubelet", "request": BASE64_STANDARD.encode(pem),
            "usages": ["digital signature", "client auth"],
        },
    })
}

fn token(pod: &Value, audience: &str) -> Value {
    let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]});
    json!({"spec": {"audiences": [audience], "boundObjectRef": bound}})
}

/// Created by an administrator.
async fn made(bed: &Bed, uri: &str, object: &Value) -> Value {
    let made = bed.send("POST", uri, &[], &object.to_string()).await;
    assert_eq!(made.code, 201, "{uri}: {}", made.text());
    made.json()
}

/// Namespaces, roles, an account, the node n2 and a pod of each node.
async fn furnished() -> (Served, [Value; 2]) {
    let bed = Bed::admitting().await;
    for name in ["default", "kube-system", "kube-public", "kube-node-lease", "tenant"] {
        made(&bed, "/api/v1/namespaces", &json!({"metadata": {"name": name}})).await;
    }
    let bed = with_roles(bed).await;
    made(&bed, "/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "account"}})).await;
    made(&bed, MAPS, &json!({"metadata": {"name": "settings"}})).await;
    made(&bed, NODES, &json!({"metadata": {"name": "n2"}})).await;
    let pods = [made(&bed, PODS, &pod("p1", "n1")).await, made(&bed, PODS, &pod("p2", "n2")).await];
    // By this it shows that the authorizer has heard of the pod.
    until(&bed, super::node("n1"), &format!("{MAPS}/settings"), 200).await;
    (Served::around(bed).await, pods)
}

fn text_of(body: &Value) -> String {
    if body.is_null() { String::new() } else { body.to_string() }
}

#[tokio::test]
async fn a_node_writes_what_is_its_own_and_nothing_besides() {
    let (served, [own, other]) = furnished().await;
    let certificate = served.signed("system:node:n1", &["system:nodes"]);
    let ask = async |(method, uri, body, code, text): Row<'_>| {
        let (found, answer) = served.ask(Some(&certificate), None, method, &uri, &text_of(&body)).await;
        let answer_text = answer.to_string();
        assert!(found == code && answer_text.contains(text), "{method} {uri} {body}: {found} {answer_text}");
        answer
    };
    let at = |base: &str, rest: &str| format!("{base}/{rest}");
    let labels = |key: &str| json!({"metadata": {"labels": {key: "x"}}});
    let named = |name: &str| json!({"metadata": {"name": name}});

    let node = ask(("POST", NODES.to_owned(), named("n1"), 201, "n1")).await;
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    let running = json!({"status": {"phase": "Running"}});
    let taint = json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}});
    let unbound = json!({"spec": {"audiences": ["vault"]}});
    let rows: Vec<Row<'_>> = vec![
        ("POST", NODES.to_owned(), named("n3"), 403, "is not allowed to modify node"),
        ("PATCH", at(NODES, "n1/status"), ready.clone(), 200, "Ready"),
        ("PATCH", at(NODES, "n2/status"), ready, 403, "is not allowed to modify node"),
        ("PATCH", at(NODES, "n1"), labels("kubernetes.io/arch"), 200, "kubernetes.io/arch"),
        ("PATCH", at(NODES, "n1"), labels("node-restriction.kubernetes.io/x"), 403, "modify labels"),
        ("PATCH", at(NODES, "n1"), taint, 403, "modify taints"),
        ("POST", LEASES.to_owned(), lease("n1"), 201, "n1"),
        ("POST", LEASES.to_owned(), lease("n2"), 403, "can only access node lease with the same name"),
        ("POST", LEASES.replace("kube-node-lease", "default"), lease("n1"), 403, "can only access leases"),
        ("POST", CSI_NODES.to_owned(), csi_node("n1"), 201, "n1"),
        ("POST", CSI_NODES.to_owned(), csi_node("n2"), 403, "can only access CSINode with the same name"),
        ("PATCH", at(PODS, "p1/status"), running.clone(), 200, "Running"),
        ("PATCH", at(PODS, "p2/status"), running, 403, "can only update pod status for pods with"),
        ("POST", PODS.to_owned(), mirror(&node), 201, "mirror"),
        ("POST", PODS.to_owned(), pod("p3", "n1"), 403, "can only create mirror pods"),
        ("POST", REQUESTS.to_owned(), request("own", "n1"), 201, "system:node:n1"),
        (
            "POST",
            REQUESTS.to_owned(),
            request("other", "n2"),
            403,
            "can only create a node CSR with CN=system:node:n1",
        ),
        ("POST", TOKENS.to_owned(), token(&own, "vault"), 201, "token"),
        ("POST", TOKENS.to_owned(), token(&own, "bank"), 403, "not found in pod spec volume"),
        ("POST", TOKENS.to_owned(), token(&other, "vault"), 403, "scheduled on a different node"),
        ("POST", TOKENS.to_owned(), unbound, 403, "not bound to a pod"),
        ("DELETE", at(PODS, "p2"), Value::Null, 403, "can only delete pods with spec.nodeName set to itself"),
        ("DELETE", at(PODS, "p1"), json!({"gracePeriodSeconds": 0}), 200, "p1"),
        ("DELETE", at(NODES, "n1"), Value::Null, 403, "forbidden"),
    ];
    for row in rows {
        ask(row).await;
    }
    let left = served.bed.get(PODS).await.json();
    let mut left: Vec<&str> = left["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pod| pod["metadata"]["name"].as_str().unwrap())
        .collect();
    left.sort_unstable();
    assert_eq!(left, ["mirror", "p2"], "what was refused has not happened");
}
