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
    assert!(got.headers.contains_key("x-kubernetes-pf-flowschema-uid"));
    let metrics = bed.get("/metrics").await.text();
    let refused = metrics.lines().find(|line| {
        line.starts_with(r#"apiserver_flowcontrol_rejected_requests_total{priority_level="global-default",reason="queue-full"}"#)
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
    let bed = busy(600).await;
    let uids = async |caller: Caller, uri: &str| {
        let got = bed.send_as(caller, "GET", uri, &[], "").await;
        ["x-kubernetes-pf-flowschema-uid", "x-kubernetes-pf-prioritylevel-uid"]
            .map(|name| got.headers.get(name).map(|value| value.to_str().unwrap().to_owned()))
    };
    let [schema, level] = uids(somebody("jane"), MAPS).await;
    assert!(schema.is_some() && level.is_some());
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
