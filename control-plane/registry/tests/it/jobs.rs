//! Jobs and CronJobs: what is refused, what may change, how a Job knows its pods.

use crate::fixture::{changed, changes, fixture, next, refused, sample, statuses};
use keelson_registry::{DeleteOptions, ListOptions, Propagation, WatchOptions};
use serde_json::{Value, json};

fn spec(spec: Value) -> Value {
    json!({"spec": spec})
}

fn indexed(more: Value) -> Value {
    spec(changed(&json!({"completionMode": "Indexed", "completions": 10}), &more))
}

#[tokio::test]
async fn a_job_selects_its_pods_by_its_uid() {
    let f = fixture().await;
    let made = f.made("jobs", sample("jobs")).await;
    let uid = &made["metadata"]["uid"];
    assert_eq!(made["spec"]["selector"], json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}));
    let labels = json!({
        "batch.kubernetes.io/controller-uid": uid, "controller-uid": uid,
        "batch.kubernetes.io/job-name": "sample", "job-name": "sample",
    });
    assert_eq!(made["spec"]["template"]["metadata"]["labels"], labels);
    assert_eq!((&made["spec"]["parallelism"], &made["spec"]["backoffLimit"]), (&json!(1), &json!(6)));
    assert_eq!((&made["spec"]["suspend"], &made["status"]), (&json!(false), &json!({})));
}

#[tokio::test]
async fn whoever_deletes_a_job_is_told_that_its_pods_stay() {
    let f = fixture().await;
    for (propagation, told) in [(Some(Propagation::Orphan), 0), (Some(Propagation::Background), 0), (None, 1)]
    {
        f.made("jobs", sample("jobs")).await;
        f.context.warnings.take();
        let options = DeleteOptions { propagation, ..DeleteOptions::default() };
        let deleted = f.delete("jobs", "sample", options).await.expect("it is there");
        let warnings = f.context.warnings.take();
        assert_eq!(warnings.len(), told, "{propagation:?}: {warnings:?}");
        if !deleted.gone {
            let mut object = deleted.body.to_value();
            object["metadata"]["finalizers"] = json!([]);
            f.update("jobs", None, object).await.expect("the collector lets go");
        }
    }
}

#[tokio::test]
async fn a_job_may_bring_its_own_selector() {
    let f = fixture().await;
    let own = spec(json!({
        "manualSelector": true, "selector": {"matchLabels": {"app": "x"}},
        "template": {"metadata": {"labels": {"app": "x"}}},
    }));
    let made = f.made("jobs", changed(&sample("jobs"), &own)).await;
    assert_eq!(made["spec"]["selector"], json!({"matchLabels": {"app": "x"}}));
    refused(
        "jobs",
        [
            (spec(json!({"manualSelector": true})), "spec.selector: Required value"),
            (spec(json!({"selector": {"matchLabels": {"app": "x"}}})), "`selector` not auto-generated"),
            (
                spec(json!({"template": {"metadata": {"labels": {"job-name": "other"}}}})),
                "spec.template.metadata.labels[job-name]: Invalid value: \"other\": must be 'sample'",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_wrong_job_is_refused_in_upstreams_words() {
    let restart = |policy: Value| spec(json!({"template": {"spec": {"restartPolicy": policy}}}));
    refused(
        "jobs",
        [
            (spec(json!({"parallelism": -1})), "spec.parallelism: Invalid value: -1: must be greater than or equal to 0"),
            (spec(json!({"backoffLimit": -1})), "spec.backoffLimit: Invalid value: -1"),
            (spec(json!({"ttlSecondsAfterFinished": -1})), "spec.ttlSecondsAfterFinished: Invalid value: -1"),
            (
                restart(json!(null)),
                "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
            ),
            (restart(json!("Sometimes")), "Unsupported value: \"Sometimes\": supported values: \"OnFailure\", \"Never\""),
            (
                spec(json!({"completionMode": "X"})),
                "spec.completionMode: Unsupported value: \"X\": supported values: \"Indexed\", \"NonIndexed\"",
            ),
            (
                spec(json!({"completionMode": "Indexed", "completions": null, "parallelism": 1})),
                "spec.completions: Required value: when completion mode is Indexed"),
            (indexed(json!({"parallelism": 100_001})), "must be less than or equal to 100000 when completion mode is Indexed"),
            (spec(json!({"backoffLimitPerIndex": 1})), "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"),
            (indexed(json!({"maxFailedIndexes": 1})), "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified"),
            (
                indexed(json!({"backoffLimitPerIndex": 1, "maxFailedIndexes": 11})),
                "spec.maxFailedIndexes: Invalid value: 11: must be less than or equal to completions",
            ),
            (
                indexed(json!({"backoffLimitPerIndex": 1, "completions": 100_001})),
                "spec.maxFailedIndexes: Required value: must be specified when completions is above 100000",
            ),
            (spec(json!({"podReplacementPolicy": "X"})), "spec.podReplacementPolicy: Unsupported value: \"X\""),
            (spec(json!({"managedBy": "me"})), "spec.managedBy: Invalid value: \"me\": must be a domain-prefixed path"),
            (spec(json!({"successPolicy": {"rules": []}})), "requires indexed completion mode"),
            (indexed(json!({"successPolicy": {"rules": []}})), "spec.successPolicy.rules: Required value"),
            (
                indexed(json!({"successPolicy": {"rules": [{"succeededIndexes": "0-20"}]}})),
                "spec.successPolicy.rules[0].succeededIndexes: Invalid value: error parsing succeededIndexes",
            ),
            (
                indexed(json!({"successPolicy": {"rules": [{"succeededIndexes": "0-1", "succeededCount": 3}]}})),
                "succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of indexes",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_wrong_failure_policy_is_refused_in_upstreams_words() {
    let rule = |rule: Value| spec(json!({"podFailurePolicy": {"rules": [rule]}}));
    let codes = |codes: Value| rule(json!({"action": "FailJob", "onExitCodes": codes}));
    let at = "spec.podFailurePolicy.rules[0]";
    let rows = [
        (rule(json!({"action": "X"})), ".action: Unsupported value: \"X\""),
        (
            rule(json!({"action": "Ignore"})),
            ": Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
        ),
        (
            rule(json!({"action": "FailIndex"})),
            ".action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be set",
        ),
        (
            codes(json!({"operator": "In", "values": []})),
            ".onExitCodes.values: Invalid value: []: at least one value is required",
        ),
        (
            codes(json!({"operator": "In", "values": [0]})),
            ".onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator",
        ),
        (
            codes(json!({"operator": "In", "values": [2, 1]})),
            ".onExitCodes.values: Invalid value: [2,1]: must be ordered",
        ),
        (codes(json!({"operator": "In", "values": [1, 1]})), ".onExitCodes.values[1]: Duplicate value: 1"),
        (codes(json!({"operator": "X", "values": [1]})), ".onExitCodes.operator: Unsupported value: \"X\""),
        (
            codes(json!({"operator": "In", "values": [1], "containerName": "other"})),
            ".onExitCodes.containerName: Invalid value: \"other\": must be one of the container or initContainer names",
        ),
        (
            rule(
                json!({"action": "Count", "onPodConditions": [{"type": "DisruptionTarget", "status": "X"}]}),
            ),
            ".onPodConditions[0].status: Unsupported value: \"X\"",
        ),
    ];
    for (change, message) in rows {
        refused("jobs", [(change, &format!("{at}{message}"))]).await;
    }
    let on_failure = json!({"spec": {
        "podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]},
        "template": {"spec": {"restartPolicy": "OnFailure"}},
    }});
    refused("jobs", [(on_failure, "only \"Never\" is supported when podFailurePolicy is specified")]).await;
}

#[tokio::test]
async fn a_job_changes_where_upstream_lets_it() {
    changes(
        "jobs",
        [
            (spec(json!({"parallelism": 3, "backoffLimit": 1, "suspend": true})), None),
            (spec(json!({"completions": 3})), Some("spec.completions: Invalid value: 3: field is immutable")),
            (
                spec(json!({"completionMode": "Indexed"})),
                Some("spec.completionMode: Invalid value: \"Indexed\": field is immutable"),
            ),
            (
                spec(json!({"template": {"spec": {"nodeSelector": {"a": "b"}}}})),
                Some("spec.template: Invalid value"),
            ),
            (
                spec(json!({"managedBy": "e.com/me"})),
                Some("spec.managedBy: Invalid value: \"e.com/me\": field is immutable"),
            ),
        ],
    )
    .await;
    let f = fixture().await;
    let suspended = f.made("jobs", changed(&sample("jobs"), &spec(json!({"suspend": true})))).await;
    let steered = spec(json!({"template": {"spec": {"nodeSelector": {"a": "b"}}}}));
    f.update("jobs", None, changed(&suspended, &steered)).await.expect("it is suspended");
    let other = spec(json!({"template": {"spec": {"restartPolicy": "OnFailure"}}}));
    let status = f.patch("jobs", "sample", None, other).await.expect_err("that is not steering");
    assert!(status.message.contains("spec.template: Invalid value"), "{status}");
    let indexed = changed(&sample("jobs"), &indexed(json!({"parallelism": 10})));
    f.made("jobs", changed(&indexed, &json!({"metadata": {"name": "i"}}))).await;
    let tandem = |completions: i64, parallelism: i64| {
        spec(json!({"completions": completions, "parallelism": parallelism}))
    };
    f.patch("jobs", "i", None, tandem(5, 5)).await.expect("an indexed Job shrinks");
    let status = f.patch("jobs", "i", None, tandem(6, 5)).await.expect_err("only as a whole");
    assert!(status.message.contains("can only be modified in tandem with spec.parallelism"), "{status}");
}

#[tokio::test]
async fn a_job_ends_once() {
    let done = |kind: &str| json!([{"type": kind, "status": "True"}]);
    statuses(
        "jobs",
        [
            (json!({"active": -1}), Some("status.active: Invalid value: -1")),
            (
                json!({"completionTime": "2026-01-01T00:00:00Z"}),
                Some("cannot set completionTime when there is no Complete=True"),
            ),
            (json!({"conditions": done("Complete")}), Some("status.completionTime: Required value")),
            (json!({"conditions": done("Failed")}), Some("status.startTime: Required value")),
            (
                json!({
                    "startTime": "2026-01-01T00:00:01Z", "completionTime": "2026-01-01T00:00:00Z",
                    "conditions": done("Complete"),
                }),
                Some("completionTime cannot be set before startTime"),
            ),
            (
                json!({
                    "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:05Z",
                    "conditions": done("Complete"),
                }),
                None,
            ),
        ],
    )
    .await;
    let f = fixture().await;
    f.made("jobs", sample("jobs")).await;
    let failed = json!({"status": {"startTime": "2026-01-01T00:00:00Z", "conditions": done("Failed")}});
    f.patch("jobs", "sample", Some("status"), failed).await.expect("it failed");
    let undone = f.patch("jobs", "sample", Some("status"), json!({"status": {"conditions": []}})).await;
    assert!(
        undone
            .expect_err("it stays so")
            .message
            .contains("cannot disable the terminal Failed=True condition")
    );
}

#[tokio::test]
async fn jobs_are_selected_by_how_many_pods_succeeded() {
    let f = fixture().await;
    f.made("jobs", sample("jobs")).await;
    let selecting = |text: &str| ListOptions { field_selector: text.to_owned(), ..ListOptions::default() };
    assert_eq!(f.names("jobs", selecting("status.successful=0")).await, ["sample"]);
    let watching =
        WatchOptions { field_selector: "status.successful=2".to_owned(), ..WatchOptions::default() };
    let mut watch = f.watch("jobs", watching).await;
    f.patch("jobs", "sample", Some("status"), json!({"status": {"succeeded": 2}})).await.expect("valid");
    assert_eq!(next(&mut watch).await.0, "ADDED sample");
    assert!(f.names("jobs", selecting("status.successful=0")).await.is_empty());
}

#[tokio::test]
async fn a_wrong_cron_job_is_refused_in_upstreams_words() {
    let template = |job: Value| spec(json!({"jobTemplate": {"spec": job}}));
    refused(
        "cronjobs",
        [
            (json!({"metadata": {"name": "n".repeat(53)}}), "metadata.name: Invalid value: \"nnnnn"),
            (spec(json!({"schedule": ""})), "spec.schedule: Required value"),
            (spec(json!({"schedule": "60 * * * *"})), "spec.schedule: Invalid value: \"60 * * * *\": end of range (60) above maximum (59): 60"),
            (spec(json!({"schedule": "* *"})), "expected exactly 5 fields, found 2"),
            (spec(json!({"schedule": "TZ=UTC 0 * * * *"})), "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"),
            (
                spec(json!({"schedule": "CRON_TZ=UTC 0 * * * *", "timeZone": "Etc/UTC"})),
                "cannot use both timeZone field and TZ or CRON_TZ in schedule",
            ),
            (spec(json!({"timeZone": ""})), "timeZone must be nil or non-empty string"),
            (spec(json!({"timeZone": "Local"})), "timeZone must be an explicit time zone"),
            (spec(json!({"timeZone": "Europe/Nowhere"})), "spec.timeZone: Invalid value: \"Europe/Nowhere\": unknown time zone Europe/Nowhere"),
            (spec(json!({"timeZone": "../etc"})), "spec.timeZone: Invalid value: \"../etc\": unknown time zone ../etc"),
            (spec(json!({"startingDeadlineSeconds": -1})), "spec.startingDeadlineSeconds: Invalid value: -1"),
            (
                spec(json!({"concurrencyPolicy": "X"})),
                "spec.concurrencyPolicy: Unsupported value: \"X\": supported values: \"Allow\", \"Forbid\", \"Replace\"",
            ),
            (spec(json!({"failedJobsHistoryLimit": -1})), "spec.failedJobsHistoryLimit: Invalid value: -1"),
            (template(json!({"selector": {"matchLabels": {"a": "b"}}})), "spec.jobTemplate.spec.selector: Invalid value"),
            (
                template(json!({"manualSelector": true})),
                "spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: \"nil\", \"false\"",
            ),
            (
                template(json!({"template": {"spec": {"restartPolicy": "Always"}}})),
                "spec.jobTemplate.spec.template.spec.restartPolicy: Required value",
            ),
        ],
    )
    .await;
    changes(
        "cronjobs",
        [
            (spec(json!({"schedule": "@hourly", "timeZone": "Europe/Berlin", "suspend": true})), None),
            (spec(json!({"schedule": "x"})), Some("spec.schedule: Invalid value: \"x\"")),
        ],
    )
    .await;
    let f = fixture().await;
    let made = f.made("cronjobs", sample("cronjobs")).await;
    let defaults = json!({"concurrencyPolicy": "Allow", "suspend": false, "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1});
    for (key, value) in defaults.as_object().expect("an object") {
        assert_eq!(&made["spec"][key], value, "{key}");
    }
    assert_eq!(made["spec"]["jobTemplate"]["spec"].get("backoffLimit"), None, "that is the Job's");
}
