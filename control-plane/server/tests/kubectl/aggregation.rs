//! An aggregated API server as kubectl sees it.

use crate::support::{Backend, Server, missing};
use base64::{Engine, engine::general_purpose::STANDARD};
use keelson_webhook::testing::{TestServer, answer};
use serde_json::{Value, json};

const GROUP_VERSION: &str = "ducks.example.com/v1";

fn objects(extension: &TestServer) -> Vec<Value> {
    vec![
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "ducks"},
            "spec": {"ports": [{"name": "api", "port": 443}]},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "ducks-1", "labels": {"kubernetes.io/service-name": "ducks"}},
            "addressType": "IPv4",
            "ports": [{"name": "api", "port": extension.address.port()}],
            "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true}}],
        }),
        json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": "v1.ducks.example.com"},
            "spec": {
                "group": "ducks.example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10,
                "service": {"namespace": "default", "name": "ducks"},
                "caBundle": STANDARD.encode(&extension.ca_pem),
            },
        }),
    ]
}

#[test]
fn kubectl_knows_the_kinds_of_an_aggregated_server() {
    if let Some(why) = missing(Backend::Embedded) {
        eprintln!("skipped: {why}");
        return;
    }
    let server = Server::start(Backend::Embedded, "apiserver");
    let authority = "jsonpath={.data.requestheader-client-ca-file}";
    let found =
        ["-n", "kube-system", "get", "configmap", "extension-apiserver-authentication", "-o", authority];
    let ca = server.ok(&found);
    let extension = TestServer::start("ducks.default.svc", Some(&ca), |request| async move {
        let resources = json!([
            {"name": "ducks", "singularName": "duck", "namespaced": true, "kind": "Duck", "verbs": ["get", "list"]},
        ]);
        let duck = json!({
            "apiVersion": GROUP_VERSION, "kind": "Duck", "metadata": {"name": "donald", "namespace": "default"},
        });
        match request.uri().path() {
            "/apis/ducks.example.com/v1" => {
                let kind = "APIResourceList";
                let list = json!({"kind": kind, "apiVersion": "v1", "groupVersion": GROUP_VERSION, "resources": resources});
                answer(200, list.to_string())
            }
            "/apis/ducks.example.com/v1/namespaces/default/ducks" => {
                let list =
                    json!({"apiVersion": GROUP_VERSION, "kind": "DuckList", "metadata": {}, "items": [duck]});
                answer(200, list.to_string())
            }
            path if path.ends_with("/ducks/donald") => answer(200, duck.to_string()),
            _ => answer(404, "{}"),
        }
    });
    for object in objects(&extension) {
        server.ok_with(&["create", "-f", "-"], &object.to_string());
    }
    server.ok(&["wait", "--for=condition=Available", "apiservice/v1.ducks.example.com", "--timeout=30s"]);
    let listed = server.ok(&["api-resources", "--no-headers"]);
    assert!(listed.lines().any(|line| line.starts_with("ducks") && line.contains(GROUP_VERSION)), "{listed}");
    assert_eq!(server.ok(&["get", "ducks", "-o", "name"]).trim(), "duck.ducks.example.com/donald");
    assert!(server.ok(&["get", "duck", "donald", "-o", "yaml"]).contains("kind: Duck"));
    let raw = server.ok(&["get", "--raw", "/apis/ducks.example.com/v1/namespaces/default/ducks"]);
    assert!(raw.contains("DuckList"), "{raw}");
    let table = server.ok(&["get", "apiservices"]);
    assert!(table.lines().any(|line| line.starts_with("v1.apps ") && line.contains("Local")), "{table}");
    assert!(table.contains("default/ducks"), "{table}");

    server.ok(&["delete", "endpointslice", "ducks-1"]);
    server.ok(&[
        "wait",
        "--for=condition=Available=false",
        "apiservice/v1.ducks.example.com",
        "--timeout=30s",
    ]);
    assert!(server.ok(&["get", "apiservices"]).contains("False (MissingEndpoints)"));
    let refused = server.refused(&["get", "--raw", "/apis/ducks.example.com/v1/namespaces/default/ducks"]);
    assert!(refused.contains("the server is currently unable to handle the request"), "{refused}");
}
