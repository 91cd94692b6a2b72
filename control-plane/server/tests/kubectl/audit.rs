//! The audit webhook as its operator sees it: what a user did comes there, the last of it when the server stops.

use crate::{
    APISERVER, CONFIG_MAP,
    support::{Backend, Server, missing},
};
use keelson_webhook::testing::{TestServer, answer, body};
use serde_json::Value;
use std::sync::{Arc, Mutex};

const POLICY: &str = r"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  verbs: [create]
  resources: [{group: '', resources: [configmaps]}]
- level: None
";

#[test]
fn what_a_user_did_comes_to_the_webhook() {
    if let Some(why) = missing(Backend::Embedded) {
        eprintln!("skipped: {why}");
        return;
    }
    let seen: Arc<Mutex<Vec<Value>>> = Arc::default();
    let keep = seen.clone();
    let sink = TestServer::start("sink", None, move |request| {
        let keep = keep.clone();
        async move {
            let list: Value = serde_json::from_slice(&body(request).await).expect("a list");
            keep.lock()
                .expect("nobody panicked")
                .extend(list["items"].as_array().expect("items").iter().cloned());
            answer(200, "")
        }
    });
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("the folder is ours");
        path.display().to_string()
    };
    file("ca.crt", &sink.ca_pem);
    let policy = file("policy.yaml", POLICY);
    let config = file(
        "webhook.conf",
        &format!(
            "{{current-context: c, contexts: [{{name: c, context: {{cluster: c}}}}],\n\
             clusters: [{{name: c, cluster: {{server: 'https://{}/', certificate-authority: ca.crt}}}}]}}",
            sink.address
        ),
    );
    let wait = ["--audit-webhook-batch-max-wait", "3600s"];
    let audit = ["--audit-policy-file", &policy, "--audit-webhook-config-file", &config];
    let mut server = Server::start_with(Backend::Embedded, APISERVER, &[&audit[..], &wait[..]].concat());
    server.ok_with(&["create", "-f", "-"], CONFIG_MAP);
    assert!(seen.lock().expect("nobody panicked").is_empty(), "the list waits for more events");
    server.stop();
    let seen = seen.lock().expect("nobody panicked");
    let found = seen.iter().find(|event| event["objectRef"]["name"] == "settings");
    let event = found.unwrap_or_else(|| panic!("{seen:?}"));
    assert_eq!((&event["verb"], &event["user"]["username"]), (&"create".into(), &"kubernetes-admin".into()));
    assert_eq!(
        (&event["stage"], &event["responseStatus"]["code"]),
        (&"ResponseComplete".into(), &201.into())
    );
}
