//! What the audit log says of requests, read from the file that the server writes.

use super::{
    streams::{Cluster, POD},
    *,
};
use async_trait::async_trait;
use hyper_util::rt::TokioIo;
use keelson_audit::{Auditor, Batching, LogConfig, Mode, Policy, Truncate};
use keelson_registry::{Attributes, status::Status};
use serde_json::json;
use std::path::{Path, PathBuf};
use tokio::io::AsyncReadExt;

/// Secrets without their content, reads of ConfigMaps without any, the rest in full but for the first stage.
const POLICY: &str = r"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Metadata, resources: [{resources: [secrets]}]}
- {level: None, verbs: [get], resources: [{resources: [configmaps]}]}
- {level: Metadata, userGroups: [quiet]}
- {level: RequestResponse, omitManagedFields: true, resources: [{group: apps}]}
- {level: RequestResponse}
";

struct Log {
    folder: tempfile::TempDir,
}

impl Log {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("audit.log")
    }

    /// All events so far, once there are so many.
    async fn events(&self, wanted: usize) -> Vec<Value> {
        let read = || {
            let text = std::fs::read_to_string(self.path()).unwrap_or_default();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
        };
        let enough = async {
            loop {
                let events = read();
                if events.len() >= wanted {
                    return events;
                }
                tokio::task::yield_now().await;
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(10), enough).await;
        found.unwrap_or_else(|_| panic!("{wanted} events: {:#?}", read()))
    }
}

fn auditor(policy: &str, path: &Path, mode: Mode) -> Option<Arc<Auditor>> {
    let config = LogConfig {
        path: path.to_owned(),
        mode,
        queue_events_max: 1000,
        batching: Batching { events_max: 1000, wait: Duration::ZERO },
        throttle: None,
        truncate: Truncate::default(),
        file_bytes_max: 1 << 30,
        age_days_max: 0,
        backups_max: 0,
        compress: false,
    };
    Some(Arc::new(Auditor::new(Policy::parse(policy).unwrap()).with_log(config).unwrap()))
}

/// A server that records to the log.
async fn recorded(log: &Log, policy: &str) -> Bed {
    let path = log.path();
    Bed::made(Arc::new(AdmitAll), |config| config.auditor = auditor(policy, &path, Mode::Blocking)).await
}

fn somebody(name: &str, groups: &[&str]) -> Caller {
    let user = Arc::new(UserInfo::authenticated(name, groups.iter().copied()));
    let certificate = PeerCertificate::Verified { user, not_after_s: i64::MAX };
    Caller::Peer(Arc::new(Peer { address: "192.0.2.7:1".parse().unwrap(), certificate }))
}

#[tokio::test]
async fn each_request_is_recorded_as_its_rule_says() {
    let log = Log::new();
    let bed = recorded(&log, POLICY).await;
    let secrets = "/api/v1/namespaces/default/secrets";
    bed.send("POST", secrets, &[("audit-id", "given")], r#"{"metadata":{"name":"s"},"data":{"k":"dg=="}}"#)
        .await;
    bed.config_map("m").await;
    bed.get(&format!("{MAPS}/m")).await;
    bed.send("PUT", &format!("{MAPS}/m"), &[], r#"{"metadata":{"name":"m"},"data":{"k":"w"}}"#).await;
    let patch = [("content-type", "application/merge-patch+json")];
    bed.send("PATCH", &format!("{MAPS}/m"), &patch, r#"{"data":{"k":"x"}}"#).await;
    bed.get(MAPS).await;
    bed.send("DELETE", &format!("{MAPS}/m"), &[], r#"{"gracePeriodSeconds":0}"#).await;
    bed.get("/version").await;
    let events = log.events(7).await;
    // index, verb, level, requestObject, a pointer into responseObject and what stands there
    let rows = [
        (0, "create", "Metadata", json!(null), "", json!(null)),
        (
            2,
            "update",
            "RequestResponse",
            json!({"metadata": {"name": "m"}, "data": {"k": "w"}}),
            "/data/k",
            json!("w"),
        ),
        (3, "patch", "RequestResponse", json!({"data": {"k": "x"}}), "/data/k", json!("x")),
        (4, "list", "RequestResponse", json!(null), "/items/0/data/k", json!("x")),
        (5, "delete", "RequestResponse", json!({"gracePeriodSeconds": 0}), "/status", json!("Success")),
        (6, "get", "RequestResponse", json!(null), "", json!(null)),
    ];
    for (index, verb, level, request, pointer, response) in rows {
        let event = &events[index];
        let seen = (&event["verb"], &event["level"], &event["requestObject"]);
        assert_eq!(seen, (&json!(verb), &json!(level), &request), "{index}: {event:#}");
        let found = event["responseObject"].pointer(pointer).cloned().unwrap_or_default();
        assert_eq!(found, response, "{index}: {event:#}");
        assert_eq!(event["stage"], "ResponseComplete", "{index}");
    }
    let secret = &events[0];
    assert_eq!(secret["auditID"], "given");
    let reference = json!({"resource": "secrets", "namespace": "default", "name": "s", "apiVersion": "v1"});
    assert_eq!(secret["objectRef"], reference);
    assert_eq!(secret["responseStatus"], json!({"metadata": {}, "code": 201}));
    assert_eq!(secret["user"]["username"], "root");
    assert_eq!(secret["annotations"]["authorization.k8s.io/decision"], "allow");
    assert_eq!(events[5]["responseStatus"]["details"]["name"], "m");
    assert_eq!((&events[6]["requestURI"], &events[6]["objectRef"]), (&json!("/version"), &json!(null)));
}

#[tokio::test]
async fn bodies_are_json_without_managed_fields_whatever_they_came_as() {
    let log = Log::new();
    let bed = recorded(&log, POLICY).await;
    let yaml = "metadata: {name: d}\nspec:\n  selector: {matchLabels: {a: b}}\n  template:\n    metadata: {labels: {a: b}}\n    spec: {containers: [{name: c, image: i}]}\n";
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let headers = [("content-type", "application/yaml"), ("accept", "application/vnd.kubernetes.protobuf")];
    let got = bed.send("POST", deployments, &headers, yaml).await;
    assert_eq!(got.code, 201, "{}", got.text());
    assert!(bed.get(&format!("{deployments}/d")).await.json()["metadata"]["managedFields"].is_array());
    let events = log.events(2).await;
    assert_eq!(events[0]["requestObject"]["spec"]["template"]["spec"]["containers"][0]["image"], "i");
    assert_eq!(events[0]["responseObject"]["spec"]["replicas"], 1, "{:#}", events[0]);
    for event in &events {
        let metadata = event["responseObject"]["metadata"].as_object().unwrap();
        assert!(metadata.contains_key("uid") && !metadata.contains_key("managedFields"), "{metadata:#?}");
    }
}

#[tokio::test]
async fn who_asked_and_what_became_of_it() {
    let log = Log::new();
    let bed = recorded(&log, POLICY).await;
    let jane = || somebody("jane", &["quiet"]);
    let forbidden = bed.send_as(jane(), "GET", "/api/v1/nodes/n", &[("user-agent", "tests/1")], "").await;
    assert_eq!(forbidden.code, 403);
    let root = somebody("boss", &["system:masters", "quiet"]);
    let headers = [("impersonate-user", "jane"), ("x-forwarded-for", "198.51.100.1")];
    bed.send_as(root.clone(), "GET", "/api/v1/nodes/n", &headers, "").await;
    let bearer = [("authorization", "Bearer nonsense")];
    assert_eq!(bed.send_as(Bed::nobody(), "GET", "/api/v1/nodes", &bearer, "").await.code, 401);
    assert_eq!(bed.send_as(root, "GET", "/api/v1/nodes/n", &[], "").await.code, 404);
    let events = log.events(4).await;
    assert_eq!(events[0]["user"], json!({"username": "jane", "groups": ["quiet", "system:authenticated"]}));
    assert_eq!(events[0]["sourceIPs"], json!(["192.0.2.7"]));
    assert_eq!(events[0]["userAgent"], "tests/1");
    assert_eq!(events[0]["annotations"]["authorization.k8s.io/decision"], "forbid");
    let status = &events[0]["responseStatus"];
    assert_eq!((&status["code"], &status["reason"]), (&json!(403), &json!("Forbidden")));
    assert!(status["message"].as_str().unwrap().contains("cannot get resource"), "{status}");
    // The rule is chosen by who asks, not by whom he acts as.
    assert_eq!((&events[1]["user"]["username"], &events[1]["level"]), (&json!("boss"), &json!("Metadata")));
    assert_eq!(events[1]["impersonatedUser"]["username"], "jane");
    assert_eq!(
        events[1]["authenticationMetadata"],
        json!({"impersonationConstraint": "impersonate:user-info"})
    );
    assert!(events[0]["authenticationMetadata"].is_null());
    assert_eq!(events[1]["sourceIPs"], json!(["198.51.100.1", "192.0.2.7"]));
    assert_eq!((&events[2]["user"], &events[2]["stage"]), (&json!({}), &json!("ResponseStarted")));
    assert_eq!(events[2]["responseStatus"]["message"], "Authentication failed, attempted: bearer");
    assert_eq!(events[3]["responseStatus"]["code"], 404);
    assert_eq!(events[3]["annotations"]["authorization.k8s.io/reason"], "");
}

#[tokio::test]
async fn rbacs_reason_is_recorded() {
    let log = Log::new();
    let bed = recorded(&log, POLICY).await;
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let role = r#"{"metadata":{"name":"reader"},"rules":[{"apiGroups":[""],"resources":["nodes"],"verbs":["list"]}]}"#;
    let bound = r#"{"metadata":{"name":"readers"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"reader"},
        "subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"jane"}]}"#;
    for (plural, body) in [("clusterroles", role), ("clusterrolebindings", bound)] {
        let got = bed.send("POST", &format!("{rbac}/{plural}"), &[], body).await;
        assert_eq!(got.code, 201, "{}", got.text());
    }
    let jane = || somebody("jane", &[]);
    let allowed = async {
        while bed.send_as(jane(), "GET", "/api/v1/nodes", &[], "").await.code != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), allowed).await.unwrap();
    let events = log.events(3).await;
    assert_eq!(
        events.last().unwrap()["annotations"]["authorization.k8s.io/reason"],
        r#"RBAC: allowed by ClusterRoleBinding "readers" of ClusterRole "reader" to User "jane""#
    );
}

#[tokio::test]
async fn watches_and_streams_are_recorded_twice() {
    let log = Log::new();
    let path = log.path();
    let bed = Bed::made(Arc::new(AdmitAll), |config| {
        config.auditor = auditor(
            "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: RequestResponse, resources: [{resources: [pods/exec, secrets]}]}]}",
            &path,
            Mode::Blocking,
        );
    })
    .await;
    let stages = |events: &[Value]| -> Vec<String> {
        events.iter().map(|event| event["stage"].as_str().unwrap().to_owned()).collect()
    };
    let watch = bed.open(Bed::root(), "GET", "/api/v1/secrets?watch=1", &[], "").await;
    assert_eq!(stages(&log.events(2).await), ["RequestReceived", "ResponseStarted"]);
    drop(watch);
    assert_eq!(stages(&log.events(3).await)[2], "ResponseComplete");

    let cluster = Cluster::around(bed).await;
    let upgrade = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];
    let answer = cluster.ask("POST", &format!("{POD}/exec?command=sh&stdin=true"), &upgrade).await;
    let mut io = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    io.read_exact(&mut [0; 4]).await.unwrap();
    let events = log.events(5).await;
    assert_eq!(stages(&events[3..]), ["RequestReceived", "ResponseStarted"]);
    assert_eq!(events[4]["objectRef"]["subresource"], "exec");
    assert_eq!(events[4]["responseStatus"]["code"], 101);
    drop(io);
    let events = log.events(6).await;
    assert_eq!(events[5]["stage"], "ResponseComplete");
    assert_eq!(events[5]["auditID"], events[3]["auditID"]);
}

#[tokio::test]
async fn a_list_that_is_sent_in_pieces_is_recorded_whole() {
    let log = Log::new();
    let bed = recorded(&log, POLICY).await;
    let filler = "x".repeat(100_000);
    for name in ["a", "b", "c"] {
        let body = format!(r#"{{"metadata":{{"name":"{name}"}},"data":{{"k":"{filler}"}}}}"#);
        assert_eq!(bed.send("POST", MAPS, &[], &body).await.code, 201);
    }
    bed.send("GET", MAPS, &[("accept-encoding", "gzip")], "").await;
    let events = log.events(4).await;
    assert_eq!(events[3]["responseObject"]["items"].as_array().unwrap().len(), 3);
    // One that is cut off is not shown in part.
    drop(bed.open(Bed::root(), "GET", MAPS, &[], "").await);
    let cut = &log.events(5).await[4];
    assert_eq!(cut["responseObject"], Value::Null);
    assert_eq!(cut["annotations"]["audit.k8s.io/truncated"], "true");
}

/// Panics at whatever is called so.
struct Clumsy;

#[async_trait]
impl Admission for Clumsy {
    async fn mutate(&self, _: &Attributes<'_>, object: Option<&mut Value>) -> Result<(), Status> {
        match object.and_then(|object| object["metadata"]["name"].as_str()) {
            Some("panic") => panic!("as asked"),
            Some("wait") => std::future::pending().await,
            _ => Ok(()),
        }
    }

    async fn validate(&self, _: &Attributes<'_>, _: Option<&Value>) -> Result<(), Status> {
        Ok(())
    }
}

#[tokio::test]
async fn a_panic_and_a_client_that_leaves_are_recorded() {
    let log = Log::new();
    let path = log.path();
    let bed =
        Bed::made(Arc::new(Clumsy), |config| config.auditor = auditor(POLICY, &path, Mode::Blocking)).await;
    let got = bed.send("POST", MAPS, &[], r#"{"metadata":{"name":"panic"}}"#).await;
    assert_eq!(got.code, 500);
    assert!(got.text().starts_with("This request caused apiserver to panic."), "{}", got.text());
    let event = &log.events(1).await[0];
    assert_eq!(
        (&event["stage"], &event["responseStatus"]["message"]),
        (&json!("Panic"), &json!("APIServer panic'd: as asked"))
    );
    let asked = bed.send("POST", MAPS, &[], r#"{"metadata":{"name":"wait"}}"#);
    let left = tokio::time::timeout(Duration::from_millis(50), asked).await;
    assert!(left.is_err(), "the client went away");
    let event = &log.events(2).await[1];
    assert_eq!(event["responseStatus"]["message"], "Connection closed early");
    assert_eq!(event["objectRef"]["name"], "wait");
}

#[tokio::test]
async fn a_log_that_cannot_be_written_stops_requests_where_that_is_wished() {
    let all = "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Metadata}]}";
    for (mode, code) in [(Mode::BlockingStrict, 500), (Mode::Blocking, 200), (Mode::Batch, 200)] {
        let bed = Bed::made(Arc::new(AdmitAll), |config| {
            config.auditor = auditor(all, Path::new("/dev/full"), mode);
        })
        .await;
        let got = bed.get(MAPS).await;
        assert_eq!(got.code, code, "{mode:?} {}", got.text());
        if code == 500 {
            assert_eq!(got.message(), "Internal error occurred: failed to store audit event");
        }
    }
}
