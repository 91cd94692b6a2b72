//! Workloads above pods: the groups apps, batch and autoscaling.

use serde_json::{Map, Value, json};

use super::{Hook, ensure_object, labels_from_template, object_in, objects_in, set_default, text};

pub(super) fn hook(definition: &str) -> Option<Hook> {
    match definition {
        "api.apps.v1.DeploymentSpec" => Some(deployment_spec),
        "api.apps.v1.DeploymentStrategy" => Some(deployment_strategy),
        "api.apps.v1.DaemonSetSpec" => Some(daemon_set_spec),
        "api.apps.v1.DaemonSetUpdateStrategy" => Some(daemon_set_strategy),
        "api.apps.v1.StatefulSetSpec" => Some(stateful_set_spec),
        "api.batch.v1.Job" => Some(job),
        "api.autoscaling.v1.HorizontalPodAutoscaler" => Some(autoscaler_v1),
        "api.autoscaling.v2.HorizontalPodAutoscalerSpec" => Some(autoscaler_v2),
        _ => None,
    }
}

fn deployment_spec(spec: &mut Map<String, Value>) {
    ensure_object(spec, "strategy");
}

fn deployment_strategy(strategy: &mut Map<String, Value>) {
    rolling_update(strategy, &[("maxUnavailable", json!("25%")), ("maxSurge", json!("25%"))]);
}

fn daemon_set_spec(spec: &mut Map<String, Value>) {
    ensure_object(spec, "updateStrategy");
}

fn daemon_set_strategy(strategy: &mut Map<String, Value>) {
    rolling_update(strategy, &[("maxUnavailable", json!(1)), ("maxSurge", json!(0))]);
}

fn rolling_update(strategy: &mut Map<String, Value>, defaults: &[(&str, Value)]) {
    if text(strategy, "type") == "RollingUpdate"
        && let Some(update) = ensure_object(strategy, "rollingUpdate")
    {
        for (key, value) in defaults {
            set_default(update, key, value.clone());
        }
    }
}

fn stateful_set_spec(spec: &mut Map<String, Value>) {
    ensure_object(spec, "persistentVolumeClaimRetentionPolicy");
    if let Some(strategy) = ensure_object(spec, "updateStrategy") {
        if text(strategy, "type").is_empty() {
            strategy.insert("type".into(), "RollingUpdate".into());
            ensure_object(strategy, "rollingUpdate");
        }
        if text(strategy, "type") == "RollingUpdate"
            && let Some(update) = object_in(strategy, "rollingUpdate")
        {
            // maxUnavailable is behind the gate MaxUnavailableStatefulSet, which is off in 1.36.
            set_default(update, "partition", 0);
        }
    }
    for claim in objects_in(spec, "volumeClaimTemplates") {
        claim.insert("apiVersion".into(), "v1".into());
        claim.insert("kind".into(), "PersistentVolumeClaim".into());
    }
}

/// These hold in Jobs only, not in the template of a CronJob.
fn job(job: &mut Map<String, Value>) {
    if let Some(spec) = object_in(job, "spec") {
        if !spec.contains_key("completions") && !spec.contains_key("parallelism") {
            spec.insert("completions".into(), 1.into());
        }
        let per_index = spec.contains_key("backoffLimitPerIndex");
        let replacement =
            if spec.contains_key("podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
        set_default(spec, "parallelism", 1);
        set_default(spec, "backoffLimit", if per_index { i32::MAX } else { 6 });
        set_default(spec, "completionMode", "NonIndexed");
        set_default(spec, "suspend", false);
        set_default(spec, "manualSelector", false);
        set_default(spec, "podReplacementPolicy", replacement);
    }
    labels_from_template(job, &["metadata", "labels"]);
}

fn autoscaler_v1(autoscaler: &mut Map<String, Value>) {
    let has_metrics = autoscaler
        .get("metadata")
        .and_then(|m| m.pointer("/annotations/autoscaling.alpha.kubernetes.io~1metrics"))
        .is_some();
    if let Some(spec) = object_in(autoscaler, "spec") {
        set_default(spec, "minReplicas", 1);
        if !has_metrics {
            set_default(spec, "targetCPUUtilizationPercentage", 80);
        }
    }
}

fn autoscaler_v2(spec: &mut Map<String, Value>) {
    set_default(
        spec,
        "metrics",
        json!([{"type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]),
    );
    let Some(behavior) = object_in(spec, "behavior") else { return };
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    if let Some(up) = ensure_object(behavior, "scaleUp") {
        set_default(up, "stabilizationWindowSeconds", 0);
        set_default(up, "selectPolicy", "Max");
        set_default(up, "policies", json!([{"type": "Pods", "value": 4, "periodSeconds": 15}, percent]));
    }
    if let Some(down) = ensure_object(behavior, "scaleDown") {
        set_default(down, "selectPolicy", "Max");
        set_default(down, "policies", json!([percent]));
    }
}
