//! Tables of the ReplicaSet's decisions.

use super::{
    expectations::{EXPIRE, Expectations},
    plan::{Failure, plan, status},
    pods::pod_of,
};
use crate::claim::claim;
use keelson_harness::{
    ObjectKey, Timestamp,
    api::REPLICA_SETS,
    views::{Pod, ReplicaSet},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::Instant;

const NOW: i64 = 1_800_000_000;

fn set(replicas: i32) -> ReplicaSet {
    let object = json!({
        "metadata": {"name": "web-1", "namespace": "n", "uid": "rs", "generation": 3},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
                 "template": {"metadata": {"labels": {"app": "web"}, "annotations": {"a": "b"}}, "spec": {"x": 1}}},
    });
    serde_json::from_str(&object.to_string()).unwrap()
}

/// A ready pod on a node, an hour old; `change` is merged over it.
fn pod(name: &str, change: Value) -> Arc<Pod> {
    let field = |path: &str, default: Value| change.pointer(path).cloned().unwrap_or(default);
    let object = json!({
        "metadata": {"name": name, "namespace": "n", "uid": name, "labels": field("/labels", json!({"app": "web"})),
                     "annotations": field("/annotations", json!({})),
                     "creationTimestamp": Timestamp::from_unix(NOW - field("/age", json!(3600)).as_i64().unwrap()),
                     "deletionTimestamp": field("/deleted", Value::Null)},
        "spec": {"nodeName": field("/node", json!("w1"))},
        "status": {"phase": field("/phase", json!("Running")),
                   "containerStatuses": [{"restartCount": field("/restarts", json!(0))}],
                   "conditions": [{"type": "Ready", "status": field("/ready", json!("True")),
                                   "lastTransitionTime": Timestamp::from_unix(NOW - field("/readyAge", json!(3600)).as_i64().unwrap())}]},
    });
    Arc::new(serde_json::from_str(&object.to_string()).unwrap())
}

fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
    pods.iter().map(|p| &*p.metadata.name).collect()
}

#[test]
fn the_pods_that_cost_least_go_first() {
    let keep = || pod("keep", json!({}));
    // Each row: a pod that must go before the one that is kept.
    let rows = [
        pod("unassigned", json!({"node": ""})),
        pod("pending", json!({"phase": "Pending"})),
        pod("unready", json!({"ready": "False"})),
        pod("cheap", json!({"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-5"}})),
        pod("just-ready", json!({"readyAge": 5})),
        pod("restarted", json!({"restarts": 4})),
        pod("young", json!({"age": 10})),
    ];
    for goes in rows {
        let pods = [keep(), goes.clone()];
        let plan = plan(&set(1), &pods, &pods, Timestamp::from_unix(NOW));
        assert_eq!(names(&plan.delete), names(&[goes]));
    }
}

#[test]
fn a_node_with_more_replicas_loses_one_first() {
    let pods =
        [pod("a", json!({"node": "w1"})), pod("b", json!({"node": "w2"})), pod("c", json!({"node": "w2"}))];
    let first = plan(&set(2), &pods, &pods, Timestamp::from_unix(NOW));
    assert_eq!(&*first.delete[0].node_name, "w2");
}

#[test]
fn missing_pods_are_created_up_to_a_burst() {
    let now = Timestamp::from_unix(NOW);
    for (wanted, have, expected) in [(3, 0, 3), (3, 3, 0), (2000, 0, 500), (0, 0, 0), (-1, 0, 0)] {
        let pods: Vec<_> = (0..have).map(|i| pod(&i.to_string(), json!({}))).collect();
        assert_eq!(plan(&set(wanted), &pods, &pods, now).create, expected, "{wanted} {have}");
    }
}

#[test]
fn pods_are_adopted_by_labels_and_released_without() {
    let rs = set(1);
    let referring = vec![pod("own", json!({})), pod("relabelled", json!({"labels": {"app": "x"}}))];
    let orphans = vec![
        pod("orphan", json!({})),
        pod("stranger", json!({"labels": {"app": "x"}})),
        pod("dying", json!({"deleted": "2026-01-01T00:00:00Z"})),
    ];
    let claims = claim(&rs.metadata, &rs.spec.selector, referring, orphans);
    assert_eq!(names(&claims.owned), ["own"]);
    assert_eq!(names(&claims.adopt), ["orphan"]);
    assert_eq!(names(&claims.release), ["relabelled"]);
}

#[test]
fn the_status_counts_ready_and_available_pods() {
    let mut rs = set(3);
    rs.spec.min_ready_seconds = 10;
    let pods = [
        pod("a", json!({})),
        pod("b", json!({"readyAge": 4})),
        pod("c", json!({"ready": "False", "labels": {"app": "x"}})),
    ];
    let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
    let now = Timestamp::from_unix(NOW);
    let (s, soon) = status(&rs, &pods, Some(1), &labels, None, now);
    assert_eq!((s.replicas, s.ready_replicas, s.available_replicas), (3, 2, 1));
    assert_eq!((s.fully_labeled_replicas, s.terminating_replicas, s.observed_generation), (2, Some(1), 3));
    assert_eq!(soon, Some(Duration::from_secs(6)));

    let failure = Failure { reason: "FailedCreate", message: "quota".into() };
    let (s, _) = status(&rs, &pods[..1], Some(0), &labels, Some(&failure), now);
    assert_eq!((&*s.conditions[0].r#type, &*s.conditions[0].reason), ("ReplicaFailure", "FailedCreate"));
    rs.status = s;
    assert!(
        status(&rs, &pods[..1], Some(0), &labels, None, now).0.conditions.is_empty(),
        "gone with the next success"
    );
}

#[test]
fn nothing_is_done_while_something_is_expected() {
    let (all, key, now) = (Expectations::default(), ObjectKey::new("n", "web-1"), Instant::now());
    assert!(all.satisfied(&key, now));
    all.expect_creates(&key, 2, now);
    all.created(&key, 1);
    assert!(!all.satisfied(&key, now));
    all.created(&key, 1);
    assert!(all.satisfied(&key, now));
    all.expect_deletes(&key, ["a", "b"].map(Arc::from).into_iter(), now);
    all.deleted(&key, "a");
    all.deleted(&key, "a");
    assert!(!all.satisfied(&key, now), "one deletion seen twice is one deletion");
    assert!(all.satisfied(&key, now + EXPIRE));
}

#[test]
fn a_pod_is_made_of_the_template_and_its_owner() {
    let pod = pod_of(&REPLICA_SETS, &set(1)).unwrap();
    assert_eq!(pod["metadata"]["generateName"], "web-1-");
    assert_eq!(pod["metadata"]["labels"], json!({"app": "web"}));
    assert_eq!(pod["metadata"]["ownerReferences"][0]["uid"], "rs");
    assert_eq!(pod["metadata"]["ownerReferences"][0]["controller"], true);
    assert_eq!(pod["spec"], json!({"x": 1}));
}
