//! Webhooks as kubectl sees them: what one denies, warns about and changes, and one that is not there.

use crate::support::{Backend, Server, missing, text};
use base64::{Engine, engine::general_purpose::STANDARD};
use keelson_webhook::testing::{TestServer, answer, body};
use serde_json::{Value, json};

fn configuration(kind: &str, name: &str, hook: &TestServer, path: &str) -> String {
    let webhook = json!({
        "name": format!("{name}.hooks.example.com"),
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "timeoutSeconds": 5,
        "clientConfig": {
            "url": format!("https://127.0.0.1:{}{path}", hook.address.port()),
            "caBundle": STANDARD.encode(&hook.ca_pem),
        },
        "objectSelector": {"matchLabels": {"hook": name}},
        "rules": [
            {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE", "DELETE"]},
        ],
    });
    let api_version = "admissionregistration.k8s.io/v1";
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "webhooks": [webhook]})
        .to_string()
}

fn config_map(name: &str) -> String {
    let metadata = json!({"name": name, "labels": {"hook": name}});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"k": "v"}}).to_string()
}

#[test]
fn a_webhook_denies_warns_and_changes_what_kubectl_makes() {
    if let Some(why) = missing(Backend::Embedded) {
        eprintln!("skipped: {why}");
        return;
    }
    let server = Server::start(Backend::Embedded, "apiserver");
    let hook = TestServer::start("localhost", None, |request| async move {
        let path = request.uri().path().to_owned();
        let mut review: Value = serde_json::from_slice(&body(request).await).expect("a review");
        let mut response = match path.as_str() {
            "/deny" => json!({"allowed": false, "status": {"code": 403, "message": "maps are full"}}),
            _ => json!({
                "allowed": true,
                "warnings": ["this map is old-fashioned"],
                "patchType": "JSONPatch",
                "patch": STANDARD.encode(r#"[{"op":"add","path":"/data/added","value":"by the hook"}]"#),
            }),
        };
        response["uid"] = review["request"]["uid"].take();
        review["response"] = response;
        answer(200, review.to_string())
    });
    let (mutating, validating) = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration");
    server.ok_with(&["create", "-f", "-"], &configuration(validating, "deny", &hook, "/deny"));
    server.ok_with(&["create", "-f", "-"], &configuration(mutating, "change", &hook, "/change"));

    let denied = server.run_with(&["create", "-f", "-"], &config_map("deny"));
    let said = text(&denied.stderr);
    let wanted = r#"admission webhook "deny.hooks.example.com" denied the request: maps are full"#;
    assert!(!denied.status.success() && said.contains(wanted), "{said}");

    let changed = server.run_with(&["create", "-f", "-"], &config_map("change"));
    let said = text(&changed.stderr);
    assert!(changed.status.success() && said.contains("Warning: this map is old-fashioned"), "{said}");
    assert_eq!(server.ok(&["get", "configmap", "change", "-o", "jsonpath={.data.added}"]), "by the hook");
    let refused = server.kubectl(&["delete", "configmap", "change"]);
    let said = text(&refused.stderr);
    let wanted = r#"admission webhook "change.hooks.example.com" attempted to modify the object"#;
    assert!(!refused.status.success() && said.contains(wanted), "{said}");

    drop(hook);
    let failed = server.run_with(&["create", "-f", "-"], &config_map("deny"));
    let said = text(&failed.stderr);
    let wanted = r#"failed calling webhook "deny.hooks.example.com": failed to call webhook: Post "https://127.0.0.1:"#;
    assert!(said.contains(wanted) && said.contains("connection refused"), "{said}");
    let table = server.ok(&["get", "validatingwebhookconfigurations", "deny"]);
    assert!(table.starts_with("NAME") && table.contains("WEBHOOKS"), "{table}");
}
