//! DaemonSets, StatefulSets, ReplicationControllers: what is refused, what may change, what the server counts.

use crate::fixture::{changed, changes, fixture, refused, sample, statuses};
use serde_json::{Value, json};

#[tokio::test]
async fn a_wrong_stateful_set_is_refused_in_upstreams_words() {
    let spec = |spec: Value| json!({"spec": spec});
    let pod = |pod: Value| json!({"spec": {"template": {"spec": pod}}});
    refused(
        "statefulsets",
        [
            (json!({"metadata": {"name": "a.b"}}), "metadata.name: Invalid value: \"a.b\": must not contain dots"),
            (spec(json!({"replicas": -1})), "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
            (spec(json!({"minReadySeconds": -1})), "spec.minReadySeconds: Invalid value: -1"),
            (spec(json!({"ordinals": {"start": -1}})), "spec.ordinals.start: Invalid value: -1"),
            (spec(json!({"serviceName": "a.b"})), "spec.serviceName: Invalid value: \"a.b\""),
            (
                spec(json!({"podManagementPolicy": "X"})),
                "spec.podManagementPolicy: Invalid value: \"X\": must be 'OrderedReady' or 'Parallel'",
            ),
            (spec(json!({"updateStrategy": {"type": "X"}})), "must be 'RollingUpdate' or 'OnDelete'"),
            (
                spec(json!({"updateStrategy": {"type": "OnDelete", "rollingUpdate": {"partition": 1}}})),
                "only allowed for updateStrategy 'RollingUpdate'",
            ),
            (
                spec(json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": -1}}})),
                "spec.updateStrategy.rollingUpdate.partition: Invalid value: -1",
            ),
            (
                spec(json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0}}})),
                "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0",
            ),
            (
                spec(json!({"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "X"}})),
                "spec.persistentVolumeClaimRetentionPolicy.whenDeleted: Unsupported value: \"X\": supported values: \
                 \"Retain\", \"Delete\"",
            ),
            (spec(json!({"selector": null})), "spec.selector: Required value"),
            (spec(json!({"selector": {"matchLabels": null}})), "empty selector is invalid for statefulset"),
            (spec(json!({"selector": {"matchLabels": {"app": "x"}}})), "`selector` does not match template `labels`"),
            (
                pod(json!({"restartPolicy": "Never"})),
                "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
            ),
            (pod(json!({"activeDeadlineSeconds": 5})), "activeDeadlineSeconds in StatefulSet is not Supported"),
            (spec(json!({"volumeClaimTemplates": null})), "volumeMounts[0].name: Not found: \"data\""),
            (
                spec(json!({"volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["X"]}}]})),
                "spec.volumeClaimTemplates[0].spec.accessModes: Unsupported value: \"X\"",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_stateful_set_changes_in_the_fields_that_upstream_names() {
    let spec = |spec: Value| json!({"spec": spec});
    changes(
        "statefulsets",
        [
            (spec(json!({"replicas": 5, "minReadySeconds": 3, "revisionHistoryLimit": 1})), None),
            (spec(json!({"ordinals": {"start": 2}})), None),
            (spec(json!({"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}})), None),
            (spec(json!({"template": {"spec": {"terminationGracePeriodSeconds": 5}}})), None),
            (spec(json!({"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete"}})), None),
            (
                spec(json!({"serviceName": "other"})),
                Some("spec: Forbidden: updates to statefulset spec for fields other"),
            ),
            (spec(json!({"podManagementPolicy": "Parallel"})), Some("updates to statefulset spec")),
            (spec(json!({"volumeClaimTemplates": null})), Some("updates to statefulset spec")),
            (spec(json!({"replicas": -1})), Some("spec.replicas: Invalid value: -1")),
        ],
    )
    .await;
    statuses(
        "statefulsets",
        [
            (json!({"replicas": 2, "readyReplicas": 2, "availableReplicas": 1}), None),
            (
                json!({"readyReplicas": 3}),
                Some("status.readyReplicas: Invalid value: 3: cannot be greater than status.replicas"),
            ),
            (
                json!({"replicas": 3, "readyReplicas": 1, "availableReplicas": 2}),
                Some(
                    "status.availableReplicas: Invalid value: 2: cannot be greater than status.readyReplicas",
                ),
            ),
            (json!({"collisionCount": -1}), Some("status.collisionCount: Invalid value: -1")),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_stateful_set_has_its_defaults() {
    let f = fixture().await;
    let made = f.made("statefulsets", sample("statefulsets")).await;
    let spec = &made["spec"];
    assert_eq!(spec["updateStrategy"], json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}));
    assert_eq!(spec["podManagementPolicy"], "OrderedReady");
    assert_eq!(
        spec["persistentVolumeClaimRetentionPolicy"],
        json!({"whenDeleted": "Retain", "whenScaled": "Retain"})
    );
    assert_eq!(spec["volumeClaimTemplates"][0]["spec"]["volumeMode"], "Filesystem");
    assert_eq!(spec["template"]["spec"].get("volumes"), None, "what is judged with it is not stored");
    assert_eq!(made["status"], json!({"replicas": 0, "availableReplicas": 0}));
    assert_eq!(
        f.context.warnings.take(),
        ["statefulsets have no controller in this cluster yet: no pods are made"]
    );
}

#[tokio::test]
async fn a_wrong_daemon_set_is_refused_in_upstreams_words() {
    let rolling = |rolling: Value| json!({"spec": {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling}}});
    let spec = |spec: Value| json!({"spec": spec});
    refused(
        "daemonsets",
        [
            (spec(json!({"selector": {"matchLabels": null}})), "empty selector is invalid for daemonset"),
            (spec(json!({"selector": {"matchLabels": {"app": "x"}}})), "`selector` does not match template `labels`"),
            (spec(json!({"minReadySeconds": -1})), "spec.minReadySeconds: Invalid value: -1"),
            (spec(json!({"revisionHistoryLimit": -1})), "spec.revisionHistoryLimit: Invalid value: -1"),
            (
                spec(json!({"template": {"spec": {"activeDeadlineSeconds": 5}}})),
                "activeDeadlineSeconds in DaemonSet is not Supported",
            ),
            (
                spec(json!({"updateStrategy": {"type": "X"}})),
                "spec.updateStrategy.type: Unsupported value: \"X\": supported values: \"RollingUpdate\", \"OnDelete\"",
            ),
            (
                rolling(json!({"maxUnavailable": 1, "maxSurge": 1})),
                "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero",
            ),
            (
                rolling(json!({"maxUnavailable": 0, "maxSurge": "0%"})),
                "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0",
            ),
            (rolling(json!({"maxUnavailable": "101%"})), "must not be greater than 100%"),
            (rolling(json!({"maxUnavailable": "x"})), "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: \"x\""),
        ],
    )
    .await;
    changes(
        "daemonsets",
        [
            (spec(json!({"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}})), None),
            (spec(json!({"selector": {"matchLabels": {"app": null, "x": "y"}}})), Some("field is immutable")),
        ],
    )
    .await;
    statuses("daemonsets", [(json!({"numberReady": -1}), Some("status.numberReady: Invalid value: -1"))])
        .await;
}

#[tokio::test]
async fn changes_of_a_daemon_sets_template_are_counted_and_not_set_back() {
    const KEY: &str = "deprecated.daemonset.template.generation";
    let f = fixture().await;
    let made = f.made("daemonsets", sample("daemonsets")).await;
    let count = |object: &Value| object["metadata"]["annotations"][KEY].as_str().map(str::to_owned);
    assert_eq!(count(&made).as_deref(), Some("1"));
    let same = f.patch("daemonsets", "sample", None, json!({"spec": {"minReadySeconds": 1}})).await;
    assert_eq!(same.map(|object| count(&object)), Ok(Some("1".to_owned())));
    let pod = json!({"terminationGracePeriodSeconds": 1});
    let change = json!({"spec": {"template": {"spec": pod}}, "metadata": {"annotations": {KEY: "9"}}});
    let counted = f.patch("daemonsets", "sample", None, change).await.expect("valid");
    assert_eq!((count(&counted).as_deref(), &counted["metadata"]["generation"]), (Some("2"), &json!(3)));
    let dropped = f.patch("daemonsets", "sample", None, json!({"metadata": {"annotations": null}})).await;
    assert_eq!(dropped.map(|object| count(&object)), Ok(Some("2".to_owned())));
}

#[tokio::test]
async fn a_revision_has_data_that_stays() {
    let f = fixture().await;
    let none = changed(&sample("controllerrevisions"), &json!({"data": null}));
    let status = f.create("controllerrevisions", none).await.map(|_| ()).expect_err("it is wrong");
    assert!(status.message.contains("data: Required value: data is mandatory"), "{status}");
    changes(
        "controllerrevisions",
        [(json!({"revision": 2}), None), (json!({"data": {"spec": {"a": 1}}}), Some("data: Invalid value"))],
    )
    .await;
}
