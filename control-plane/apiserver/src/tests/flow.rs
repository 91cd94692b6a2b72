//! Whose turn it is, as clients see it: one that floods waits behind itself, and is told so.

use super::*;
use bytes::Bytes;
use futures::stream;
use serde_json::json;
use tokio::{sync::Semaphore, task::JoinSet};

const GROUP: &str = "rbac.authorization.k8s.io";

fn somebody(name: &str) -> Caller {
    Caller::InProcess(Arc::new(UserInfo::authenticated(name, ["users"])))
}

/// A server of so many seats, where members of `users` may do what they like to ConfigMaps.
async fn busy(seats: u32) -> Bed {
    let bed = Bed::limited(seats, Duration::from_secs(60)).await;
    let role = json!({"metadata": {"name": "maps"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}]});
    let binding = json!({"metadata": {"name": "maps"},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "maps"},
        "subjects": [{"apiGroup": GROUP, "kind": "Group", "name": "users"}]});
    for (plural, object) in [("clusterroles", role), ("clusterrolebindings", binding)] {
        let made = bed.send("POST", &format!("/apis/{GROUP}/v1/{plural}"), &[], &object.to_string()).await;
        assert_eq!(made.code, 201, "{}", made.text());
    }
    let known = async {
        while bed.send_as(somebody("first"), "GET", MAPS, &[], "").await.code != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), known).await.expect("the authorizer follows the roles");
    bed
}

/// Requests whose bodies come one by one, as the gate lets them.
struct Flood {
    gate: Arc<Semaphore>,
    tasks: JoinSet<u16>,
}

impl Flood {
    fn new() -> Self {
        Self { gate: Arc::new(Semaphore::new(0)), tasks: JoinSet::new() }
    }

    fn send(&mut self, bed: &Bed, requests: usize) {
        for _ in 0..requests {
            let (server, gate) = (bed.server.clone(), self.gate.clone());
            self.tasks.spawn(async move {
                let once = stream::once(async move {
                    gate.acquire_owned().await.expect("it is not closed").forget();
                    Ok(Bytes::from_static(b"{\"metadata\":{\"generateName\":\"f-\"}}"))
                });
                let request = Request::builder().method("POST").uri(MAPS).body(body::stream(once)).unwrap();
                server.answer(somebody("flood"), request).await.status().as_u16()
            });
        }
    }
}

/// Waiting and running requests of level global-default.
async fn at_the_level(bed: &Bed) -> (usize, usize) {
    let dump = bed.get("/debug/api_priority_and_fairness/dump_priority_levels").await.text();
    let row = dump.lines().find(|line| line.starts_with("global-default,")).expect("the level is there");
    let column = |at: usize| row.split(", ").nth(at).unwrap().parse().unwrap();
    (column(4), column(5))
}

async fn until(bed: &Bed, reached: impl Fn((usize, usize)) -> bool) -> (usize, usize) {
    let wait = async {
        loop {
            let now = at_the_level(bed).await;
            if reached(now) {
                return now;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the level gets there")
}

#[tokio::test]
async fn a_tenant_that_floods_waits_behind_itself() {
    let bed = busy(49).await;
    let mut flood = Flood::new();
    flood.send(&bed, 150);
    let (waiting, running) = until(&bed, |(waiting, running)| waiting + running == 150).await;
    assert!(waiting > 50, "{running} run, {waiting} wait");
    // Each of another tenant's requests is next, though all others came before it.
    for _ in 0..3 {
        let modest = bed.send_as(somebody("modest"), "GET", MAPS, &[], "");
        tokio::pin!(modest);
        let mut let_go = 0;
        let got = loop {
            tokio::select! {
                biased;
                got = &mut modest => break got,
                () = tokio::task::yield_now() => {}
            }
            let before = at_the_level(&bed).await;
            flood.gate.add_permits(1);
            let_go += 1;
            flood.tasks.join_next().await.expect("one ends").unwrap();
            assert!(let_go < 5, "{before:?}: {let_go} requests of the flood went before it");
        };
        assert_eq!(got.code, 200, "{}", got.text());
    }
    // Other levels have seats of their own, and masters need none.
    let scheduler = Caller::InProcess(Arc::new(UserInfo::authenticated("system:kube-scheduler", ["users"])));
    assert_eq!(bed.send_as(scheduler, "GET", MAPS, &[], "").await.code, 200);
    assert_eq!(bed.get(MAPS).await.code, 200);
    flood.gate.add_permits(150);
    while let Some(code) = flood.tasks.join_next().await {
        assert_eq!(code.unwrap(), 201, "whoever waited is served");
    }
    assert_eq!(at_the_level(&bed).await, (0, 0));
}

#[tokio::test]
async fn who_finds_the_queues_full_is_told_when_to_come_back() {
    let bed = busy(1).await;
    let mut flood = Flood::new();
    flood.send(&bed, 310);
    let first = tokio::time::timeout(Duration::from_secs(20), flood.tasks.join_next());
    assert_eq!(first.await.expect("one is refused").unwrap().unwrap(), 429);
    let got = bed.send_as(somebody("flood"), "GET", MAPS, &[], "").await;
    assert_eq!((got.code.as_u16(), got.headers["retry-after"].to_str().unwrap()), (429, "1"));
    assert_eq!(got.message(), "Too many requests, please try again later.");
    assert_eq!(got.json()["reason"], "TooManyRequests");
    let metrics = bed.get("/metrics").await.text();
    let refused = metrics.lines().find(|line| {
        line.starts_with(r#"apiserver_flowcontrol_rejected_requests_total{flow_schema="global-default",priority_level="global-default",reason="queue-full"}"#)
    });
    assert!(refused.is_some_and(|line| !line.ends_with(" 0")), "{metrics}");
    // Clients that go give their places up.
    flood.tasks.shutdown().await;
    assert_eq!(until(&bed, |now| now == (0, 0)).await, (0, 0));
    assert_eq!(bed.send_as(somebody("flood"), "GET", MAPS, &[], "").await.code, 200);
}

#[tokio::test]
async fn open_watches_hold_no_seats() {
    let bed = busy(1).await;
    let mut open = Vec::new();
    for _ in 0..20 {
        let watch = bed.open(somebody("watcher"), "GET", &format!("{MAPS}?watch=1"), &[], "").await;
        assert_eq!(watch.status(), 200);
        open.push(watch);
    }
    assert_eq!(at_the_level(&bed).await, (0, 0));
}

#[tokio::test]
async fn answers_name_the_flow() {
    let bed = kept(600).await;
    let uids = async |caller: Caller, uri: &str| {
        let got = bed.send_as(caller, "GET", uri, &[], "").await;
        ["x-kubernetes-pf-flowschema-uid", "x-kubernetes-pf-prioritylevel-uid"]
            .map(|name| got.headers.get(name).map(|value| value.to_str().unwrap().to_owned()))
    };
    let [schema, level] = uids(somebody("jane"), MAPS).await;
    for (kind, uid) in [("flowschemas", &schema), ("prioritylevelconfigurations", &level)] {
        let object = bed.get(&format!("{FLOW}/{kind}/global-default")).await.json();
        assert_eq!(object["metadata"]["uid"].as_str(), uid.as_deref(), "what the API calls it");
    }
    assert_eq!(
        uids(somebody("joe"), "/nothing").await,
        [schema.clone(), level],
        "refused by RBAC, after its turn"
    );
    let [masters, _] = uids(Bed::root(), MAPS).await;
    assert_ne!(masters, schema);
    assert_eq!(uids(Bed::nobody(), MAPS).await, [None, None], "whoever is not known has no flow");
}

#[tokio::test]
async fn a_request_that_does_not_come_to_an_end_is_ended() {
    let bed = Bed::limited(10, Duration::from_millis(100)).await;
    let never = stream::pending::<Result<Bytes, crate::wire::BoxError>>();
    let request = Request::builder().method("POST").uri(MAPS).body(body::stream(never)).unwrap();
    let (head, answer) = bed.server.answer(Bed::root(), request).await.into_parts();
    let text = String::from_utf8_lossy(&answer.collect().await.unwrap().to_bytes()).into_owned();
    assert_eq!(head.status, 504);
    assert!(text.contains("Timeout: request did not complete within the allotted timeout"), "{text}");
}

const FLOW: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";

/// A busy server that keeps the objects of flow control, and has made them.
async fn kept(seats: u32) -> Bed {
    let bed = busy(seats).await;
    for step in crate::StartStep::ALL {
        bed.server.finished(step);
    }
    bed.server.mark_started();
    until_true("the built-in objects are in force", async || {
        let got = bed.send_as(somebody("first"), "GET", MAPS, &[], "").await;
        bed.get("/readyz").await.code == 200 && got.headers.contains_key("x-kubernetes-pf-flowschema-uid")
    })
    .await;
    bed
}

async fn until_true(what: &str, is_so: impl AsyncFn() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("in time: {what}"));
}

async fn make(bed: &Bed, kind: &str, object: &Value) -> Value {
    let got = bed.send("POST", &format!("{FLOW}/{kind}"), &[], &object.to_string()).await;
    assert_eq!(got.code, 201, "{}", got.text());
    got.json()
}

fn level(name: &str, shares: u32, response: &Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"type": "Limited", "limited": {
        "nominalConcurrencyShares": shares, "borrowingLimitPercent": 0, "limitResponse": response}}})
}

/// Of everything that a user asks.
fn schema(name: &str, level: &str, precedence: i32, user: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
    "priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence,
    "rules": [{
        "subjects": [{"kind": "User", "user": {"name": user}}],
        "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}],
    }]}})
}

/// The uid of the schema that the user's requests go by.
async fn goes_by(bed: &Bed, user: &str) -> String {
    let got = bed.send_as(somebody(user), "GET", MAPS, &[], "").await;
    got.headers.get("x-kubernetes-pf-flowschema-uid").map_or("", |uid| uid.to_str().unwrap()).to_owned()
}

async fn dangling(bed: &Bed, schema: &str) -> Value {
    let object = bed.get(&format!("{FLOW}/flowschemas/{schema}")).await.json();
    object["status"]["conditions"][0].clone()
}

#[tokio::test]
async fn a_level_with_one_seat_sends_away_who_comes_second_and_others_notice_nothing() {
    let bed = kept(50).await;
    let refusing = level("narrow", 0, &json!({"type": "Reject"}));
    let made = make(&bed, "flowschemas", &schema("narrow", "narrow", 300, "flood")).await;
    let uid = made["metadata"]["uid"].as_str().unwrap();
    until_true("it is told that its level is not there", async || {
        let condition = dangling(&bed, "narrow").await;
        condition["status"] == "True" && condition["reason"] == "NotFound"
    })
    .await;
    assert_ne!(goes_by(&bed, "flood").await, uid, "a schema without a level matches nothing");
    make(&bed, "prioritylevelconfigurations", &refusing).await;
    until_true("the user's requests go by it", async || goes_by(&bed, "flood").await == uid).await;
    until_true("it is told of its level", async || dangling(&bed, "narrow").await["status"] == "False").await;
    let mut flood = Flood::new();
    flood.send(&bed, 1);
    until_true("the seat is taken", async || {
        let dump = bed.get("/debug/api_priority_and_fairness/dump_priority_levels").await.text();
        dump.lines().any(|line| line.starts_with("narrow, 1, false, false, 0, 1, "))
    })
    .await;
    let refused = bed.send_as(somebody("flood"), "GET", MAPS, &[], "").await;
    assert_eq!((refused.code.as_u16(), refused.headers["retry-after"].to_str().unwrap()), (429, "1"));
    assert_eq!(refused.headers["x-kubernetes-pf-flowschema-uid"].to_str().unwrap(), uid);
    assert_eq!(bed.send_as(somebody("modest"), "GET", MAPS, &[], "").await.code, 200);
    flood.gate.add_permits(1);
    assert_eq!(flood.tasks.join_next().await.unwrap().unwrap(), 201);
    assert_eq!(bed.send_as(somebody("flood"), "GET", MAPS, &[], "").await.code, 200);
}

#[tokio::test]
async fn who_waits_at_a_level_that_is_deleted_is_served() {
    let bed = kept(50).await;
    let queue = json!({"type": "Queue", "queuing": {"queues": 1, "handSize": 1, "queueLengthLimit": 9}});
    make(&bed, "prioritylevelconfigurations", &level("narrow", 0, &queue)).await;
    let made = make(&bed, "flowschemas", &schema("narrow", "narrow", 300, "flood")).await;
    let uid = made["metadata"]["uid"].as_str().unwrap();
    until_true("the user's requests go by it", async || goes_by(&bed, "flood").await == uid).await;
    let mut flood = Flood::new();
    flood.send(&bed, 4);
    let waiting = async || {
        let dump = bed.get("/debug/api_priority_and_fairness/dump_requests?includeRequestDetails=1").await;
        dump.text().lines().filter(|line| line.starts_with("narrow, narrow, 0, ")).count()
    };
    until_true("three wait", async || waiting().await == 3).await;
    let gone = bed.send("DELETE", &format!("{FLOW}/prioritylevelconfigurations/narrow"), &[], "").await;
    assert_eq!(gone.code, 200);
    until_true("the user's requests go elsewhere", async || goes_by(&bed, "flood").await != uid).await;
    assert_eq!(waiting().await, 3);
    flood.gate.add_permits(4);
    while let Some(code) = flood.tasks.join_next().await {
        assert_eq!(code.unwrap(), 201, "whoever waited is served");
    }
}

#[tokio::test]
async fn built_in_objects_are_kept_as_far_as_nobody_may_change_them() {
    let bed = kept(50).await;
    let [exempt, system] =
        ["exempt", "system"].map(|name| format!("{FLOW}/prioritylevelconfigurations/{name}"));
    let merge = [("content-type", "application/merge-patch+json")];
    let patch = async |uri: &str, patch: Value| bed.send("PATCH", uri, &merge, &patch.to_string()).await;
    let gone = bed.send("DELETE", &exempt, &[], "").await.json();
    until_true("it comes back", async || {
        let again = bed.get(&exempt).await;
        again.code == 200 && again.json()["metadata"]["uid"] != gone["details"]["uid"]
    })
    .await;
    // Suggested ones follow the release until somebody says that they do not.
    let shares = |shares: u32| json!({"spec": {"limited": {"nominalConcurrencyShares": shares}}});
    assert_eq!(patch(&system, shares(77)).await.code, 200);
    let now = async || bed.get(&system).await.json()["spec"]["limited"]["nominalConcurrencyShares"].clone();
    until_true("it is put right", async || now().await == 30).await;
    let keep = json!({"metadata": {"annotations": {"apf.kubernetes.io/autoupdate-spec": "false"}},
        "spec": {"limited": {"nominalConcurrencyShares": 78}}});
    assert_eq!(patch(&system, keep).await.code, 200);
    let obsolete = {
        let mut object = level("obsolete", 1, &json!({"type": "Reject"}));
        object["metadata"]["annotations"] = json!({"apf.kubernetes.io/autoupdate-spec": "true"});
        object
    };
    make(&bed, "prioritylevelconfigurations", &obsolete).await;
    until_true("what is built in no longer goes", async || {
        bed.get(&format!("{FLOW}/prioritylevelconfigurations/obsolete")).await.code == 404
    })
    .await;
    assert_eq!(now().await, 78);
    // What is broken is not written.
    let broken = patch(&exempt, json!({"spec": {"type": "Limited"}})).await;
    assert_eq!(broken.code, 422);
    assert!(
        broken.message().contains("type must be 'Exempt' if and only if name is 'exempt'"),
        "{}",
        broken.text()
    );
    let first = bed
        .send("POST", &format!("{FLOW}/flowschemas"), &[], &schema("s", "exempt", 1, "u").to_string())
        .await;
    assert_eq!(first.code, 422);
    assert!(first.message().contains("only the schema named 'exempt' may have matchingPrecedence 1"));
}

#[tokio::test]
async fn tables_show_schemas_in_the_order_they_are_tried_in() {
    let bed = kept(50).await;
    let accept = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let table = bed.send("GET", &format!("{FLOW}/flowschemas"), &accept, "").await.json();
    let rows: Vec<_> = table["rows"].as_array().unwrap().iter().map(|row| row["cells"].clone()).collect();
    let names: Vec<_> = rows.iter().map(|cells| cells[0].as_str().unwrap()).collect();
    assert_eq!(names[..4], ["exempt", "probes", "system-leader-election", "endpoint-controller"]);
    assert_eq!(names.last(), Some(&"catch-all"));
    assert_eq!([&rows[0][1], &rows[0][2], &rows[0][3]], [&json!("exempt"), &json!(1), &json!("<none>")]);
}
