//! HorizontalPodAutoscalers in both versions: rules, defaults, one object in two shapes.

use crate::fixture::{changed, changes, fixture, refused, sample, statuses};
use serde_json::{Value, json};

fn spec(spec: Value) -> Value {
    json!({"spec": spec})
}

#[tokio::test]
async fn a_wrong_autoscaler_is_refused_in_upstreams_words() {
    let metric = |metric: Value| spec(json!({"metrics": [metric]}));
    let up = |rules: Value| spec(json!({"behavior": {"scaleUp": rules}}));
    let cpu =
        |target: Value| metric(json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
    let utilization = json!({"type": "Utilization", "averageUtilization": 5});
    refused(
        "horizontalpodautoscalers",
        [
            (spec(json!({"minReplicas": 0})), "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1"),
            (spec(json!({"maxReplicas": 0})), "spec.maxReplicas: Invalid value: 0: must be greater than 0"),
            (spec(json!({"minReplicas": 6})), "spec.maxReplicas: Invalid value: 5: must be greater than or equal to `minReplicas`"),
            (spec(json!({"scaleTargetRef": {"kind": ""}})), "spec.scaleTargetRef.kind: Required value"),
            (spec(json!({"scaleTargetRef": {"name": ".."}})), "spec.scaleTargetRef.name: Invalid value: \"..\""),
            (
                metric(json!({"type": "X"})),
                "spec.metrics[0].type: Unsupported value: \"X\": supported values: \"ContainerResource\", \"External\", \
                 \"Object\", \"Pods\", \"Resource\"",
            ),
            (metric(json!({"type": "Pods"})), "spec.metrics[0].pods: Required value: must populate information"),
            (
                metric(json!({
                    "type": "Resource", "resource": {"name": "cpu", "target": utilization},
                    "pods": {"metric": {"name": "x"}, "target": {"type": "AverageValue", "averageValue": "1"}},
                })),
                "spec.metrics[0].pods: Forbidden: must populate the given metric source only",
            ),
            (cpu(json!({"type": "X", "averageUtilization": 5})), "must be either Utilization, Value, or AverageValue"),
            (cpu(json!({"type": "Utilization"})), "target.averageUtilization: Required value: must set either a target raw value"),
            (cpu(json!({"type": "Utilization", "averageUtilization": 0})), "averageUtilization: Invalid value: 0: must be greater than 0"),
            (cpu(json!({"type": "AverageValue", "averageValue": "-1"})), "averageValue: Invalid value: \"-1\": must be positive"),
            (
                metric(json!({"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "", "target": utilization}})),
                "containerResource.container: Required value: must specify a container",
            ),
            (
                metric(json!({"type": "Pods", "pods": {"metric": {"name": ""}, "target": {"type": "AverageValue", "averageValue": "1"}}})),
                "spec.metrics[0].pods.metric.name: Required value: must specify a metric name",
            ),
            (
                metric(json!({"type": "External", "external": {
                    "metric": {"name": "m"}, "target": {"type": "Value", "value": "1", "averageValue": "1"},
                }})),
                "target.value: Forbidden: may not set both a target value for metric and a per-pod target",
            ),
            (up(json!({"stabilizationWindowSeconds": 3601})), "must be less than or equal to 3600"),
            (up(json!({"selectPolicy": "X"})), "supported values: \"Disabled\", \"Max\", \"Min\""),
            (up(json!({"policies": []})), "spec.behavior.scaleUp.policies: Required value: must specify at least one Policy"),
            (
                up(json!({"policies": [{"type": "Pods", "value": 0, "periodSeconds": 1801}]})),
                "policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800",
            ),
            (up(json!({"tolerance": "-1"})), "spec.behavior.scaleUp.tolerance: Invalid value: \"-1\""),
        ],
    )
    .await;
    changes("horizontalpodautoscalers", [(spec(json!({"maxReplicas": 9})), None)]).await;
    statuses(
        "horizontalpodautoscalers",
        [(json!({"desiredReplicas": -1}), Some("status.desiredReplicas: Invalid value: -1"))],
    )
    .await;
}

#[tokio::test]
async fn an_autoscaler_written_in_one_version_is_read_in_the_other() {
    let f = fixture().await;
    let table = f.registry.table();
    let v1 =
        table.by_resource("autoscaling", "v1", "horizontalpodautoscalers").expect("it is served").clone();
    let plain = json!({
        "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "web"}},
    });
    let made = f.registry.create(&f.context, &v1, Some("ns"), None, None, plain).await.expect("valid");
    let made = made.body.to_value();
    assert_eq!(
        (&made["apiVersion"], &made["spec"]["targetCPUUtilizationPercentage"]),
        (&json!("autoscaling/v1"), &json!(80))
    );
    let seen = f.get("horizontalpodautoscalers", "a").await.expect("it is there");
    assert_eq!(seen["apiVersion"], "autoscaling/v2");
    assert_eq!(seen["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 80);
    assert_eq!((&seen["spec"]["minReplicas"], seen["metadata"].get("generation")), (&json!(1), None));

    let whole = changed(&sample("horizontalpodautoscalers"), &json!({"metadata": {"name": "b"}}));
    let whole = f.made("horizontalpodautoscalers", whole).await;
    assert_eq!(whole["spec"]["behavior"]["scaleDown"]["selectPolicy"], "Max");
    let entry = f.registry.get(&v1, Some("ns"), "b", None).await.expect("it is there");
    let mut old = entry.to_value();
    assert_eq!(old["spec"]["targetCPUUtilizationPercentage"], 60);
    old["spec"]["maxReplicas"] = json!(7);
    f.registry.update(&f.context, &v1, Some("ns"), "b", None, old).await.expect("valid");
    let after = f.get("horizontalpodautoscalers", "b").await.expect("it is there");
    assert_eq!(after["spec"]["maxReplicas"], 7);
    assert_eq!(after["spec"]["behavior"], whole["spec"]["behavior"], "what v1 has no field for is kept");
    assert_eq!(after["spec"]["metrics"], whole["spec"]["metrics"]);
}

#[tokio::test]
async fn a_wrong_controller_or_template_is_refused_in_upstreams_words() {
    refused(
        "replicationcontrollers",
        [
            (spec(json!({"selector": {"app": "other"}})), "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match"),
            (spec(json!({"template": null})), "spec.template: Required value"),
            (spec(json!({"replicas": -1})), "spec.replicas: Invalid value: -1"),
            (
                spec(json!({"template": {"spec": {"restartPolicy": "Never"}}})),
                "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
            ),
            (spec(json!({"template": {"spec": {"activeDeadlineSeconds": 1}}})), "activeDeadlineSeconds in ReplicationController is not Supported"),
        ],
    )
    .await;
    refused(
        "podtemplates",
        [
            (json!({"template": {"spec": {"containers": []}}}), "template.spec.containers: Required value"),
            (
                json!({"template": {"metadata": {"labels": {"a": "-"}}}}),
                "template.labels: Invalid value: \"-\"",
            ),
        ],
    )
    .await;
    let f = fixture().await;
    let defaulted = changed(&sample("replicationcontrollers"), &spec(json!({"selector": null})));
    let made = f.made("replicationcontrollers", defaulted).await;
    assert_eq!(
        (&made["spec"]["selector"], &made["metadata"]["labels"]),
        (&json!({"app": "web"}), &json!({"app": "web"}))
    );
    let kind = f.kind("replicationcontrollers");
    let scale = f.registry.get_scale(&kind, Some("ns"), "sample").await.expect("it has one");
    assert_eq!(scale["status"]["selector"], "app=web");
}
