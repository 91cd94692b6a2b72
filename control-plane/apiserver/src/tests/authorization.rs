//! A chain with a webhook, over real TLS: what it is asked, what becomes of its answers, and of its silence.

use super::tokens::{Nowhere, kubeconfig};
use super::*;
use crate::{AccessAuthorizer, AccessWebhook};
use keelson_auth::authz::{self, Configured};
use keelson_webhook::{
    Remote,
    testing::{TestServer, answer, body},
};
use parking_lot::Mutex;
use serde_json::json;
use std::time::Instant;

/// What came to the webhook, specs alone.
type Seen = Arc<Mutex<Vec<Value>>>;

/// Allows ann everything, denies what is deleted, hangs at `slow`, breaks at `broken`, and has no opinion on the rest.
fn start() -> (TestServer, Seen) {
    let seen = Seen::default();
    let keep = seen.clone();
    let server = TestServer::start("127.0.0.1", None, move |request| {
        let keep = keep.clone();
        async move {
            assert_eq!(request.headers()["authorization"], "Bearer ours");
            let mut review: Value = serde_json::from_slice(&body(request).await).unwrap();
            let spec = review["spec"].clone();
            keep.lock().push(spec.clone());
            review["status"] = match (spec["user"].as_str(), spec["resourceAttributes"]["verb"].as_str()) {
                (Some("slow"), _) => std::future::pending().await,
                (Some("broken"), _) => return answer(400, "no"),
                (Some("torn"), _) => json!({"allowed": true, "denied": true}),
                (_, Some("delete" | "deletecollection")) => {
                    json!({"allowed": false, "denied": true, "reason": "frozen"})
                }
                (Some("ann"), _) => json!({"allowed": true, "reason": "it is ann"}),
                _ => json!({"allowed": false, "reason": "never heard of it"}),
            };
            answer(200, review.to_string())
        }
    });
    (server, seen)
}

struct Chained {
    bed: Bed,
    server: Option<TestServer>,
    seen: Seen,
    folder: tempfile::TempDir,
}

impl Chained {
    /// The webhook before RBAC, and before nothing else.
    async fn new(changed: Value) -> Self {
        let (server, seen) = start();
        let folder = tempfile::tempdir().unwrap();
        kubeconfig(folder.path(), &server);
        let made = Self { bed: Bed::new().await, server: Some(server), seen, folder };
        made.set(changed);
        made
    }

    fn set(&self, changed: Value) {
        let path = self.folder.path().join("webhook.conf");
        let mut webhook = json!({
            "timeout": "1s", "subjectAccessReviewVersion": "v1", "failurePolicy": "NoOpinion",
            "matchConditionSubjectAccessReviewVersion": "v1",
            "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": path},
        });
        for (key, value) in changed.as_object().unwrap() {
            webhook[key] = value.clone();
        }
        let authorizers =
            json!([{"type": "Webhook", "name": "w", "webhook": webhook}, {"type": "RBAC", "name": "rbac"}]);
        let config = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration", "authorizers": authorizers});
        let made = authz::compile(&serde_json::from_value(config).unwrap()).unwrap();
        let ready = made.0.into_iter().map(|configured| match configured {
            Configured::Node => AccessAuthorizer::Node,
            Configured::Rbac => AccessAuthorizer::Rbac,
            Configured::Webhook(rules) => {
                let remote = Remote::load(&rules.kubeconfig, Arc::new(Nowhere)).unwrap();
                AccessAuthorizer::Webhook(Box::new(AccessWebhook { rules, remote }))
            }
        });
        self.bed.server.set_authorizers(ready.collect());
    }

    async fn send(&self, user: &str, method: &str, uri: &str, body: &str) -> Got {
        self.bed.send_as(user_named(user), method, uri, &[], body).await
    }

    fn asked(&self) -> usize {
        self.seen.lock().len()
    }

    async fn metrics(&self) -> String {
        self.bed.get("/metrics").await.text()
    }
}

fn user_named(name: &str) -> Caller {
    Caller::InProcess(Arc::new(UserInfo::authenticated(name, ["dev"])))
}

/// Lets bob read ConfigMaps, and waits until the authorizer has heard of it.
async fn bind_bob(bed: &Bed) {
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let role = json!({"metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}]});
    let binding = json!({"metadata": {"name": "b"}, "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"}});
    for (plural, object) in [("clusterroles", role), ("clusterrolebindings", binding)] {
        let got = bed.send("POST", &format!("{rbac}/{plural}"), &[], &object.to_string()).await;
        assert_eq!(got.code, 201, "{}", got.text());
    }
    let known = async {
        while bed.send_as(user_named("bob"), "GET", MAPS, &[], "").await.code != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), known).await.expect("the authorizer follows");
}

#[tokio::test]
async fn a_webhook_allows_denies_and_leaves_to_others() {
    let chained = Chained::new(json!({})).await;
    assert_eq!(chained.send("ann", "GET", MAPS, "").await.code, 200);
    let got = chained.send("bob", "GET", MAPS, "").await;
    assert!(
        got.code == 403 && got.message().ends_with("in the namespace \"default\": never heard of it"),
        "{}",
        got.text()
    );
    bind_bob(&chained.bed).await;
    for user in ["ann", "bob"] {
        let got = chained.send(user, "DELETE", &format!("{MAPS}/a"), "").await;
        assert!(got.code == 403 && got.message().ends_with(": frozen"), "{}", got.text());
    }
    let before = chained.asked();
    assert_eq!(
        chained.bed.send("DELETE", &format!("{MAPS}/a"), &[], "").await.code,
        404,
        "root is not asked about"
    );
    assert_eq!(chained.asked(), before);

    let torn = chained.send("torn", "GET", MAPS, "").await;
    assert!(torn.code == 500 && torn.message().contains("returned both allow and deny"), "{}", torn.text());
    let metrics = chained.metrics().await;
    for line in [
        "apiserver_authorization_decisions_total{type=\"Webhook\",name=\"w\",decision=\"denied\"} 3",
        "apiserver_authorization_decisions_total{type=\"RBAC\",name=\"rbac\",decision=\"denied\"} 0",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn the_question_has_upstreams_attributes() {
    let chained = Chained::new(json!({})).await;
    let query = "fieldSelector=metadata.namespace%3Ddefault&labelSelector=app%20in%20(a,b)";
    assert_eq!(chained.send("ann", "GET", &format!("{MAPS}?{query}"), "").await.code, 200);
    assert_eq!(
        chained.send("ann", "GET", "/apis/apps/v1/deployments?watch=1&timeoutSeconds=1", "").await.code,
        200
    );
    assert_eq!(chained.send("ann", "GET", "/version", "").await.code, 200);
    let groups = json!(["dev", "system:authenticated"]);
    let selectors = json!({
        "namespace": "default", "verb": "list", "version": "v1", "resource": "configmaps",
        "fieldSelector": {"requirements": [{"key": "metadata.namespace", "operator": "In", "values": ["default"]}]},
        "labelSelector": {"requirements": [{"key": "app", "operator": "In", "values": ["a", "b"]}]},
    });
    let watched = json!({"verb": "watch", "group": "apps", "version": "v1", "resource": "deployments"});
    let wanted = [
        json!({"user": "ann", "groups": groups, "resourceAttributes": selectors}),
        json!({"user": "ann", "groups": groups, "resourceAttributes": watched}),
        json!({"user": "ann", "groups": groups, "nonResourceAttributes": {"path": "/version", "verb": "get"}}),
    ];
    assert_eq!(*chained.seen.lock(), wanted);

    chained.set(json!({"subjectAccessReviewVersion": "v1beta1"}));
    assert_eq!(chained.send("ann", "GET", MAPS, "").await.code, 200);
    assert_eq!(chained.seen.lock()[3]["group"], groups);
}

#[tokio::test]
async fn answers_are_kept_for_their_time() {
    let chained = Chained::new(json!({"authorizedTTL": "400ms", "cacheUnauthorizedRequests": false})).await;
    let began = Instant::now();
    for _ in 0..3 {
        assert_eq!(chained.send("ann", "GET", MAPS, "").await.code, 200);
    }
    // On a machine that stalls they may have ended meanwhile.
    assert!(chained.asked() == 1 || began.elapsed() > Duration::from_millis(400), "{}", chained.asked());
    let ended = async {
        let before = chained.asked();
        while chained.asked() == before {
            assert_eq!(chained.send("ann", "GET", MAPS, "").await.code, 200);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ended).await.expect("what is kept ends");
    let before = chained.asked();
    for _ in 0..2 {
        assert_eq!(chained.send("bob", "GET", MAPS, "").await.code, 403);
    }
    assert_eq!(chained.asked(), before + 2, "what does not allow is not kept");

    chained.set(json!({"cacheAuthorizedRequests": false, "unauthorizedTTL": "1h"}));
    let before = chained.asked();
    for (user, code) in [("ann", 200), ("ann", 200), ("bob", 403), ("bob", 403), ("bob", 403)] {
        assert_eq!(chained.send(user, "GET", MAPS, "").await.code, code);
    }
    assert_eq!(chained.asked(), before + 3);
    let long = format!(
        "{MAPS}?labelSelector=a%20in%20({})",
        (0..200).map(|n| format!("x{n:060}")).collect::<Vec<_>>().join(",")
    );
    let before = chained.asked();
    for _ in 0..2 {
        assert_eq!(chained.send("bob", "GET", &long, "").await.code, 403);
    }
    assert_eq!(chained.asked(), before + 2, "nor is what is too long");
}

#[tokio::test]
async fn a_webhook_that_cannot_be_asked_denies_or_leaves_to_others() {
    let mut chained = Chained::new(json!({})).await;
    bind_bob(&chained.bed).await;
    let got = chained.send("broken", "GET", MAPS, "").await;
    assert!(
        got.code == 500 && got.message().starts_with("Internal Server Error: \"/api/v1/"),
        "{}",
        got.text()
    );
    let began = Instant::now();
    assert_eq!(chained.send("slow", "GET", MAPS, "").await.code, 500);
    assert!(began.elapsed() >= Duration::from_secs(1) && began.elapsed() < Duration::from_secs(20));
    let metrics = chained.metrics().await;
    for (metric, result) in [
        ("webhook_evaluations_total", "timeout"),
        ("webhook_evaluations_total", "error"),
        ("webhook_evaluations_fail_open_total", "timeout"),
    ] {
        let line = format!("apiserver_authorization_{metric}{{name=\"w\",result=\"{result}\"}} 1");
        assert!(metrics.contains(&line), "{line}\n{metrics}");
    }
    let slow =
        "apiserver_authorization_webhook_duration_seconds_bucket{name=\"w\",result=\"timeout\",le=\"0.5\"} 0";
    assert!(metrics.contains(slow), "{metrics}");

    chained.server = None;
    chained.set(json!({}));
    assert_eq!(chained.send("bob", "GET", MAPS, "").await.code, 200, "RBAC allows");
    let got = chained.send("bob", "GET", "/metrics", "").await;
    assert!(got.code == 500 && got.message().contains("connection refused"), "{}", got.text());
    let review = json!({"spec": {"user": "bob", "resourceAttributes": {"verb": "get", "resource": "pods"}}});
    let got = chained.bed.send("POST", SUBJECT, &[], &review.to_string()).await.json();
    assert_eq!(got["status"]["allowed"], false);
    assert!(got["status"]["evaluationError"].as_str().unwrap().contains("connection refused"), "{got}");

    chained.set(json!({"failurePolicy": "Deny"}));
    assert_eq!(chained.send("bob", "GET", MAPS, "").await.code, 500);
    let got = chained.bed.send("POST", SUBJECT, &[], &review.to_string()).await.json();
    assert_eq!(got["status"]["denied"], true, "{got}");
    assert_eq!(chained.bed.get(MAPS).await.code, 200, "root is nobody's to refuse");
}

const SUBJECT: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";

#[tokio::test]
async fn conditions_keep_a_webhook_from_what_it_is_not_for() {
    let conditions = json!([{"expression": "has(request.resourceAttributes) && request.resourceAttributes.namespace == 'default'"}]);
    let chained = Chained::new(json!({"matchConditions": conditions})).await;
    assert_eq!(chained.send("ann", "GET", MAPS, "").await.code, 200);
    assert_eq!(chained.send("ann", "GET", "/api/v1/configmaps", "").await.code, 403);
    assert_eq!(chained.send("ann", "GET", "/version", "").await.code, 403);
    assert_eq!(chained.asked(), 1);
    let line = "apiserver_authorization_match_condition_exclusions_total{type=\"Webhook\",name=\"w\"} 2";
    let metrics = chained.metrics().await;
    assert!(metrics.contains(line));
    let timed =
        "apiserver_authorization_match_condition_evaluation_seconds_count{name=\"w\",type=\"Webhook\"} 3";
    assert!(metrics.contains(timed), "{metrics}");
}

#[tokio::test]
async fn everybody_who_decides_asks_the_webhook() {
    let chained = Chained::new(json!({})).await;
    let review = |user: &str, verb: &str| {
        let resource = json!({"verb": verb, "resource": "pods", "fieldSelector": {"rawSelector": "a=b"}});
        json!({"spec": {"user": user, "resourceAttributes": resource}}).to_string()
    };
    let rows = [
        ("ann", "get", json!({"allowed": true, "reason": "it is ann"})),
        ("ann", "delete", json!({"allowed": false, "denied": true, "reason": "frozen"})),
        ("bob", "get", json!({"allowed": false, "reason": "never heard of it"})),
    ];
    for (user, verb, wanted) in rows {
        let got = chained.bed.send("POST", SUBJECT, &[], &review(user, verb)).await;
        assert_eq!(got.json()["status"], wanted);
        assert_eq!(
            chained.seen.lock().last().unwrap()["resourceAttributes"]["fieldSelector"]["requirements"][0]["key"],
            "a"
        );
    }
    let rules = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let got = chained.send("ann", "POST", rules, r#"{"spec":{"namespace":"default"}}"#).await.json();
    assert_eq!(got["status"]["incomplete"], true);
    assert_eq!(got["status"]["evaluationError"], "webhook authorizer does not support user rule resolution");

    // Acting as somebody else.
    let address: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let proven = |name: &str| {
        let user = Arc::new(UserInfo::authenticated(name, ["dev"]));
        let certificate = PeerCertificate::Verified { user, not_after_s: i64::MAX };
        Caller::Peer(Arc::new(Peer { address, certificate }))
    };
    let as_ann = [("impersonate-user", "ann"), ("impersonate-uid", "7")];
    assert_eq!(chained.bed.send_as(proven("ann"), "GET", MAPS, &as_ann, "").await.code, 200);
    let asked = chained.seen.lock().iter().rev().nth(1).unwrap()["resourceAttributes"].clone();
    assert_eq!(
        asked,
        json!({"verb": "impersonate:user-info", "group": "authentication.k8s.io", "version": "v1", "resource": "uids", "name": "7"})
    );
    assert_eq!(chained.bed.send_as(proven("bob"), "GET", MAPS, &as_ann, "").await.code, 403);

    // Who may write by name is asked for creation only where there is nothing.
    let map = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}"#;
    let verbs = || {
        let seen = chained.seen.lock();
        let verbs: Vec<String> = seen
            .iter()
            .filter_map(|spec| spec["resourceAttributes"]["verb"].as_str().map(str::to_owned))
            .collect();
        verbs
    };
    let form = [("content-type", "application/apply-patch+yaml")];
    let before = verbs().len();
    let uri = format!("{MAPS}/a?fieldManager=m");
    for code in [201, 200] {
        let got = chained.bed.send_as(user_named("ann"), "PATCH", &uri, &form, map).await;
        assert_eq!(got.code, code, "{}", got.text());
    }
    assert_eq!(verbs()[before..], ["patch", "create"], "the second patch's answer is known");
}
