//! A chain with a webhook as kubectl sees it: who may do what, who is told why not, and what happens when the file changes.

use crate::support::{Backend, Server, missing, text};
use base64::{Engine, engine::general_purpose::STANDARD};
use keelson_webhook::testing::{TestServer, answer, body};
use serde_json::{Value, json};
use std::{
    path::Path,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(30);

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Lets ann do what she likes but for secrets, which nobody gets here; tells others nothing.
fn start() -> TestServer {
    TestServer::start("localhost", None, |request| async move {
        let mut review: Value = serde_json::from_slice(&body(request).await).expect("a review");
        let resource = &review["spec"]["resourceAttributes"];
        let status = match (review["spec"]["user"].as_str(), resource["resource"].as_str()) {
            (_, Some("secrets")) => {
                json!({"allowed": false, "denied": true, "reason": "secrets stay secret"})
            }
            (Some("ann"), _) => json!({"allowed": true}),
            _ => json!({"allowed": false}),
        };
        review["status"] = status;
        answer(200, review.to_string())
    })
}

fn write_kubeconfig(path: &Path, webhook: &TestServer) {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c", "users": [],
        "clusters": [{"name": "w", "cluster": {"server": format!("https://localhost:{}/", webhook.address.port()),
                      "certificate-authority-data": STANDARD.encode(&webhook.ca_pem)}}],
        "contexts": [{"name": "c", "context": {"cluster": "w"}}],
    });
    std::fs::write(path, config.to_string()).expect("the folder is ours");
}

/// The webhook is asked about users alone: components are RBAC's.
fn chain(kubeconfig: &Path, with_webhook: bool) -> String {
    let webhook = format!(
        "- type: Webhook\n  name: access\n  webhook:\n    timeout: 3s\n    subjectAccessReviewVersion: v1\n    \
         failurePolicy: Deny\n    authorizedTTL: 1s\n    unauthorizedTTL: 1s\n    \
         connectionInfo: {{type: KubeConfigFile, kubeConfigFile: '{}'}}\n    \
         matchConditionSubjectAccessReviewVersion: v1\n    \
         matchConditions: [{{expression: \"!request.user.startsWith('system:')\"}}]\n",
        kubeconfig.display()
    );
    let webhook = if with_webhook { webhook.as_str() } else { "" };
    format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers:\n\
         - {{type: Node, name: node}}\n{webhook}- {{type: RBAC, name: rbac}}\n"
    )
}

#[test]
fn a_webhook_decides_and_its_configuration_is_followed() {
    if let Some(why) = missing(Backend::Embedded) {
        eprintln!("skipped: {why}");
        return;
    }
    let webhook = start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [config, kubeconfig] = ["authorization.yaml", "webhook.conf"].map(|name| folder.path().join(name));
    write_kubeconfig(&kubeconfig, &webhook);
    std::fs::write(&config, chain(&kubeconfig, true)).expect("the folder is ours");
    let option = format!("--authorization-config={}", config.display());
    let server = Server::start_with(Backend::Embedded, "apiserver,controllers", &[&option]);
    let (ann, bob) = (server.user("ann"), server.user("bob"));
    let can = |who: &str, what: &[&str]| {
        let output = server.kubectl(&[&["--kubeconfig", who, "auth", "can-i"], what].concat());
        text(&output.stdout).trim().to_owned()
    };
    assert_eq!(can(&ann, &["create", "deployments"]), "yes");
    assert_eq!(can(&ann, &["get", "/metrics"]), "yes");
    assert_eq!(can(&ann, &["get", "secrets"]), "no - secrets stay secret");
    assert_eq!(can(&bob, &["create", "deployments"]), "no");
    server.ok(&["create", "clusterrolebinding", "bob", "--clusterrole=cluster-admin", "--user=bob"]);
    eventually("RBAC decides where the webhook does not", || can(&bob, &["create", "deployments"]) == "yes");
    assert_eq!(can(&bob, &["get", "secrets"]), "no - secrets stay secret");
    let refused = server.refused(&["--kubeconfig", &bob, "get", "secrets"]);
    assert!(refused.contains("Forbidden") && refused.contains("secrets stay secret"), "{refused}");
    server.ok(&["--kubeconfig", &ann, "create", "configmap", "mine"]);
    server.ok(&["get", "secrets"]);

    // An expression of a policy waits for the webhook too.
    let policy = "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {name: blessed}\n\
         spec:\n  failurePolicy: Fail\n  matchConstraints:\n    resourceRules:\n    \
         - {apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}\n  validations:\n  \
         - expression: \"authorizer.requestResource.check('bless').allowed()\"\n    message: only the blessed\n\
         ---\napiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata: {name: blessed}\n\
         spec: {policyName: blessed, validationActions: [Deny], matchResources: {namespaceSelector: {matchLabels: \
         {kubernetes.io/metadata.name: default}}}}\n";
    server.ok(&["create", "role", "maker", "--verb=create", "--resource=configmaps"]);
    server.ok(&["create", "rolebinding", "maker", "--role=maker", "--user=carl"]);
    server.ok_with(&["create", "-f", "-"], policy);
    let carl = server.user("carl");
    let make = |who: &str, name: &str| {
        let output = server.kubectl(&["--kubeconfig", who, "create", "configmap", name]);
        (output.status.success(), text(&output.stderr))
    };
    eventually("the policy denies carl", || make(&carl, "c").1.contains("only the blessed"));
    assert!(make(&ann, "blessed").0, "the webhook allows ann to bless");

    // A file that cannot be used changes nothing, another takes over.
    let reloads = |status: &str| {
        let line = format!(
            "apiserver_authorization_config_controller_automatic_reloads_total{{status=\"{status}\"}}"
        );
        let metrics = server.ok(&["get", "--raw", "/metrics"]);
        metrics.lines().find_map(|text| text.strip_prefix(&line)?.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    std::fs::write(&config, "authorizers: []").expect("the folder is ours");
    eventually("the failure is counted", || reloads("failure") == 1);
    assert_eq!(can(&ann, &["create", "deployments"]), "yes");
    std::fs::write(&config, chain(&kubeconfig, false)).expect("the folder is ours");
    eventually("the new file is used", || reloads("success") == 1);
    assert_eq!(can(&ann, &["create", "deployments"]), "no");
    assert_eq!(can(&bob, &["get", "secrets"]), "yes");
    assert!(server.log().contains("the old authorization configuration is kept"));
}
