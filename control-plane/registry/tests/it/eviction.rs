//! Evictions: what a disruption budget lets go, and what it keeps.

use crate::fixture::{Fixture, changes, fixture, pod, refused, sample, statuses};
use keelson_registry::{Context, DeleteOptions, Preconditions, Status};
use serde_json::{Value, json};

#[tokio::test]
async fn a_wrong_budget_is_refused_in_upstreams_words() {
    let spec = |spec: Value| json!({"spec": spec});
    refused(
        "poddisruptionbudgets",
        [
            (spec(json!({"maxUnavailable": 1})), "spec: Invalid value: minAvailable and maxUnavailable cannot be both set"),
            (spec(json!({"minAvailable": -1})), "spec.minAvailable: Invalid value: -1: must be greater than or equal to 0"),
            (spec(json!({"minAvailable": "101%"})), "spec.minAvailable: Invalid value: \"101%\": must not be greater than 100%"),
            (spec(json!({"minAvailable": "many"})), "spec.minAvailable: Invalid value: \"many\""),
            (spec(json!({"selector": {"matchLabels": {"a": "-"}}})), "spec.selector.matchLabels: Invalid value: \"-\""),
            (
                spec(json!({"unhealthyPodEvictionPolicy": "X"})),
                "spec.unhealthyPodEvictionPolicy: Unsupported value: \"X\": supported values: \"AlwaysAllow\", \"IfHealthyBudget\"",
            ),
        ],
    )
    .await;
    changes("poddisruptionbudgets", [(spec(json!({"minAvailable": null, "maxUnavailable": "50%"})), None)])
        .await;
    statuses(
        "poddisruptionbudgets",
        [(json!({"expectedPods": -1}), Some("status.expectedPods: Invalid value: -1"))],
    )
    .await;
}

/// A pod of the sample budget, on a node, with this phase.
async fn running(f: &Fixture, name: &str, phase: &str, ready: &str) -> Value {
    let mut body = pod(name);
    body["metadata"]["labels"] = json!({"app": "web"});
    body["spec"]["nodeName"] = json!("n");
    f.made("pods", body).await;
    let status = json!({"phase": phase, "conditions": [{"type": "Ready", "status": ready}]});
    f.patch("pods", name, Some("status"), json!({"status": status})).await.expect("valid")
}

async fn budget(f: &Fixture, name: &str, status: Value) {
    let mut body = sample("poddisruptionbudgets");
    body["metadata"]["name"] = json!(name);
    f.made("poddisruptionbudgets", body).await;
    f.patch("poddisruptionbudgets", name, Some("status"), json!({"status": status})).await.expect("valid");
}

fn status(allowed: i64, healthy: i64) -> Value {
    json!({"observedGeneration": 1, "disruptionsAllowed": allowed, "currentHealthy": healthy, "desiredHealthy": 2, "expectedPods": 3})
}

async fn evict_with(
    f: &Fixture,
    context: &Context,
    name: &str,
    options: DeleteOptions,
) -> Result<Value, Status> {
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    let stored = f.registry.evict(context, &f.kind("pods"), Some("ns"), name, eviction, &options).await?;
    Ok(stored.body.to_value())
}

async fn evict(f: &Fixture, name: &str) -> Result<Value, Status> {
    evict_with(f, &f.context, name, DeleteOptions::default()).await
}

fn cause(status: &Status) -> String {
    let details = status.details.as_ref().expect("it has details");
    details.causes.first().map(|cause| format!("{}: {}", cause.reason, cause.message)).unwrap_or_default()
}

#[tokio::test]
async fn a_pod_without_a_budget_goes_and_says_why() {
    let f = fixture().await;
    running(&f, "a", "Running", "True").await;
    assert_eq!(evict(&f, "a").await.expect("nothing objects")["status"], "Success");
    let going = f.get("pods", "a").await.expect("it has its grace");
    assert_eq!(going["metadata"]["deletionGracePeriodSeconds"], 30);
    let conditions = going["status"]["conditions"].as_array().expect("a list").clone();
    let mark = conditions.iter().find(|own| own["type"] == "DisruptionTarget").expect("it is marked");
    assert_eq!((&mark["status"], &mark["reason"]), (&json!("True"), &json!("EvictionByEvictionAPI")));
    assert_eq!(evict(&f, "none").await.map_err(|status| status.code), Err(404));
}

#[tokio::test]
async fn a_budget_gives_what_it_has_and_then_nothing() {
    let f = fixture().await;
    for name in ["a", "b"] {
        running(&f, name, "Running", "True").await;
    }
    budget(&f, "sample", status(1, 3)).await;
    let dry = evict_with(&f, &f.dry(), "a", DeleteOptions::default()).await;
    assert_eq!(dry.map(|answer| answer["status"].clone()), Ok(json!("Success")));
    evict(&f, "a").await.expect("one may go");
    let left = f.get("poddisruptionbudgets", "sample").await.expect("it is there")["status"].clone();
    assert_eq!(left["disruptionsAllowed"], 0);
    assert_eq!(
        left["disruptedPods"].as_object().map(|pods| pods.keys().cloned().collect()),
        Some(vec!["a".to_owned()])
    );
    assert_eq!(
        (&left["conditions"][0]["type"], &left["conditions"][0]["reason"]),
        (&json!("DisruptionAllowed"), &json!("InsufficientPods"))
    );
    let refused = evict(&f, "b").await.expect_err("no second one");
    assert_eq!(refused.message, "Cannot evict pod as it would violate the pod's disruption budget.");
    assert_eq!(
        (refused.code, cause(&refused).as_str()),
        (429, "DisruptionBudget: The disruption budget sample needs 2 healthy pods and has 3 currently")
    );
    assert_eq!(f.get("pods", "b").await.expect("it stays")["metadata"].get("deletionTimestamp"), None);
}

#[tokio::test]
async fn a_budget_whose_status_is_not_worked_out_keeps_its_pods() {
    let f = fixture().await;
    running(&f, "a", "Running", "True").await;
    f.made("poddisruptionbudgets", sample("poddisruptionbudgets")).await;
    let refused = evict(&f, "a").await.expect_err("nobody has computed it");
    assert_eq!(
        (refused.code, cause(&refused).as_str()),
        (429, "DisruptionBudget: The disruption budget sample is still being processed by the server.")
    );
}

#[tokio::test]
async fn two_budgets_for_one_pod_are_a_mistake() {
    let f = fixture().await;
    running(&f, "a", "Running", "True").await;
    budget(&f, "one", status(1, 3)).await;
    budget(&f, "two", status(1, 3)).await;
    let refused = evict(&f, "a").await.expect_err("which of them?");
    assert!(
        refused.code == 500 && refused.message.contains("more than one PodDisruptionBudget"),
        "{refused}"
    );
}

#[tokio::test]
async fn pods_that_do_no_work_go_without_asking() {
    for (phase, ready, allowed) in [
        ("Pending", "False", true),
        ("Failed", "False", true),
        ("Succeeded", "False", true),
        ("Running", "True", false),
    ] {
        let f = fixture().await;
        running(&f, "a", phase, ready).await;
        budget(&f, "sample", status(0, 1)).await;
        assert_eq!(evict(&f, "a").await.is_ok(), allowed, "{phase}");
    }
}

#[tokio::test]
async fn a_pod_that_is_not_ready_goes_when_enough_others_are() {
    let rows = [
        (status(0, 2), json!(null), true),
        (status(0, 1), json!(null), false),
        (status(0, 1), json!("AlwaysAllow"), true),
    ];
    for (given, policy, allowed) in rows {
        let f = fixture().await;
        running(&f, "a", "Running", "False").await;
        budget(&f, "sample", given.clone()).await;
        let spec = json!({"spec": {"unhealthyPodEvictionPolicy": policy}});
        f.patch("poddisruptionbudgets", "sample", None, spec).await.expect("valid");
        f.patch(
            "poddisruptionbudgets",
            "sample",
            Some("status"),
            json!({"status": {"observedGeneration": 2}}),
        )
        .await
        .expect("valid");
        assert_eq!(evict(&f, "a").await.is_ok(), allowed, "{given} {policy}");
    }
}

#[tokio::test]
async fn an_eviction_holds_to_its_preconditions() {
    let f = fixture().await;
    running(&f, "a", "Running", "True").await;
    let options = DeleteOptions {
        preconditions: Preconditions { uid: Some("other".to_owned()), ..Preconditions::default() },
        ..DeleteOptions::default()
    };
    let refused = evict_with(&f, &f.context, "a", options).await.expect_err("it is another pod");
    assert!(refused.code == 409 && refused.message.contains("UID in precondition: other"), "{refused}");
    let wrong = json!({"metadata": {"name": "b"}});
    let refused = f
        .registry
        .evict(&f.context, &f.kind("pods"), Some("ns"), "a", wrong, &DeleteOptions::default())
        .await;
    assert_eq!(refused.map(|_| ()).map_err(|status| status.code), Err(400));
}
