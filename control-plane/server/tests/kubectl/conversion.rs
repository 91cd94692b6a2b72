//! A custom kind in three versions, between which a webhook converts, by kubectl's own commands: `host` in v1, which is stored,
//! `address` in v1beta1, `at` in v1alpha1.

use crate::support::{Backend, Server, missing, text};
use base64::{Engine, engine::general_purpose::STANDARD};
use keelson_webhook::testing::{TestServer, answer, body};
use serde_json::{Value, json};

const FIELDS: [(&str, &str); 3] = [("v1", "host"), ("v1beta1", "address"), ("v1alpha1", "at")];
const CRD: &str = "crd/ends.example.com";

fn webhook() -> TestServer {
    TestServer::start("localhost", None, |request| async move {
        let mut review: Value = serde_json::from_slice(&body(request).await).expect("a review");
        let to = review["request"]["desiredAPIVersion"].clone();
        let mut objects = review["request"]["objects"].take();
        for object in objects.as_array_mut().into_iter().flatten() {
            let is = |version: &str| to.as_str() == Some(&format!("example.com/{version}"));
            let field = FIELDS.iter().find(|(version, _)| is(version)).map_or("", |(_, field)| field);
            let host =
                FIELDS.iter().find_map(|(_, field)| object["spec"][field].as_str()).unwrap_or_default();
            object["spec"] = json!({ field: host });
            object["apiVersion"] = to.clone();
        }
        let uid = review["request"]["uid"].clone();
        review["response"] =
            json!({"uid": uid, "result": {"status": "Success"}, "convertedObjects": objects});
        answer(200, review.to_string())
    })
}

fn definition(hook: &TestServer) -> String {
    let client = json!({
        "url": format!("https://127.0.0.1:{}/", hook.address.port()),
        "caBundle": STANDARD.encode(&hook.ca_pem),
    });
    let versions = FIELDS.map(|(name, field)| {
        let spec = json!({"type": "object", "properties": {field: {"type": "string"}}});
        json!({
            "name": name, "served": true, "storage": name == "v1",
            "additionalPrinterColumns": [{"name": field, "type": "string", "jsonPath": format!(".spec.{field}")}],
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
        })
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "ends.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "ends", "kind": "End"},
            "conversion": {"strategy": "Webhook",
                "webhook": {"clientConfig": client, "conversionReviewVersions": ["v1"]}},
            "versions": versions,
        },
    })
    .to_string()
}

fn end(version: &str, field: &str, value: &str) -> String {
    let api_version = format!("example.com/{version}");
    json!({"apiVersion": api_version, "kind": "End", "metadata": {"name": "a"}, "spec": {field: value}})
        .to_string()
}

#[test]
fn three_versions_are_one_object() {
    if let Some(why) = missing(Backend::Embedded) {
        eprintln!("skipped: {why}");
        return;
    }
    let server = Server::start(Backend::Embedded, "apiserver");
    let hook = webhook();
    server.ok_with(&["apply", "-f", "-"], &definition(&hook));
    server.ok(&["wait", "--for=condition=Established", "--timeout=10s", CRD]);
    server.ok_with(&["create", "-f", "-"], &end("v1", "host", "one"));
    let table = server.ok(&["get", "ends.v1beta1.example.com", "--no-headers"]);
    assert_eq!(table.split_whitespace().collect::<Vec<_>>(), ["a", "one"]);
    assert!(server.ok(&["get", "ends.v1alpha1.example.com", "a", "-o", "yaml"]).contains("at: one"));

    let server_side = ["apply", "--server-side", "--field-manager=two", "-f", "-"];
    let conflict = server.refused_with(&server_side, &end("v1beta1", "address", "two"));
    assert!(conflict.contains("conflict with \"kubectl-create\" using example.com/v1"), "{conflict}");
    let mut waits = ["v1", "v1beta1"].map(|version| {
        let (_, field) = FIELDS.iter().find(|(known, _)| *known == version).expect("it is one of them");
        let goal = format!("--for=jsonpath={{.spec.{field}}}=two");
        server.spawn(&["wait", &goal, "--timeout=20s", &format!("ends.{version}.example.com/a")])
    });
    let forced = ["apply", "--server-side", "--force-conflicts", "--field-manager=two", "-f", "-"];
    server.ok_with(&forced, &end("v1beta1", "address", "two"));
    for wait in &mut waits {
        assert!(wait.wait().expect("it ends").success(), "both versions are watched");
    }
    assert_eq!(server.ok(&["get", "ends.v1.example.com", "a", "-o", "jsonpath={.spec.host}"]), "two");

    drop(hook);
    server.ok(&["patch", "ends.v1.example.com", "a", "--type=merge", "-p", r#"{"spec":{"host":"three"}}"#]);
    assert_eq!(server.ok(&["get", "ends.v1.example.com", "a", "-o", "jsonpath={.spec.host}"]), "three");
    let failed = server.kubectl(&["get", "ends.v1beta1.example.com", "a"]);
    let said = text(&failed.stderr);
    let wanted = r#"Error from server: conversion webhook for example.com/v1, Kind=End failed: Post "https://127.0.0.1:"#;
    assert!(
        !failed.status.success() && said.contains(wanted) && said.contains("connection refused"),
        "{said}"
    );
}
