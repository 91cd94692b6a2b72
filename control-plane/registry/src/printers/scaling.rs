//! Scale, HorizontalPodAutoscaler, PodDisruptionBudget.

use super::text::{NONE, count, name};
use crate::{kind::Kind, kinds::autoscaling::to_v2, meta};
use serde_json::{Value, json};

/// Metrics beyond these are only counted.
const METRICS_MAX: usize = 2;

pub(super) fn scale(object: &Value, age: Value) -> Vec<Value> {
    vec![
        name(object),
        json!(count(object, &["spec", "replicas"])),
        json!(count(object, &["status", "replicas"])),
        age,
    ]
}

pub(super) fn autoscaler(kind: &Kind, object: &Value, age: Value) -> Vec<Value> {
    let converted;
    let object = if kind.version == "v1" {
        converted = to_v2(object.clone());
        &converted
    } else {
        object
    };
    let reference = |key| meta::text(object, &["spec", "scaleTargetRef", key]);
    let least = match meta::number(object, &["spec", "minReplicas"]) {
        Some(least) => least.to_string(),
        None => "<unset>".to_owned(),
    };
    vec![
        name(object),
        json!(format!("{}/{}", reference("kind"), reference("name"))),
        json!(targets(object)),
        json!(least),
        json!(count(object, &["spec", "maxReplicas"])),
        json!(count(object, &["status", "currentReplicas"])),
        age,
    ]
}

fn targets(object: &Value) -> String {
    let wanted = meta::items(object, &["spec", "metrics"]);
    if wanted.is_empty() {
        return NONE.to_owned();
    }
    let current = meta::items(object, &["status", "currentMetrics"]);
    let shown: Vec<String> = wanted
        .iter()
        .take(METRICS_MAX)
        .enumerate()
        .map(|(index, metric)| target(metric, current.get(index).unwrap_or(&Value::Null)))
        .collect();
    let shown = shown.join(", ");
    match wanted.len().saturating_sub(METRICS_MAX) {
        0 => shown,
        more => format!("{shown} + {more} more..."),
    }
}

/// `cpu: 3%/80%`, `10/20`, `5/10 (avg)`.
fn target(metric: &Value, current: &Value) -> String {
    let amount = |source: &str, key: &str, suffix: &str| {
        let of = |value: Option<&Value>| match value {
            Some(Value::String(text)) => Some(format!("{text}{suffix}")),
            Some(Value::Number(number)) => Some(format!("{number}{suffix}")),
            _ => None,
        };
        let is = of(meta::at(current, &[source, "current", key])).unwrap_or_else(|| "<unknown>".to_owned());
        (is, of(meta::at(metric, &[source, "target", key])))
    };
    let shown = |source: &str, key: &str| {
        let (is, wanted) = amount(source, key, "");
        wanted.map(|wanted| format!("{is}/{wanted}"))
    };
    match meta::text(metric, &["type"]) {
        kind @ ("Resource" | "ContainerResource") => {
            let source = if kind == "Resource" { "resource" } else { "containerResource" };
            let resource = meta::text(metric, &[source, "name"]);
            let shown = shown(source, "averageValue").unwrap_or_else(|| {
                let (is, wanted) = amount(source, "averageUtilization", "%");
                format!("{is}/{}", wanted.as_deref().unwrap_or("<auto>"))
            });
            format!("{resource}: {shown}")
        }
        "Pods" => shown("pods", "averageValue").unwrap_or_default(),
        kind @ ("Object" | "External") => {
            let source = if kind == "Object" { "object" } else { "external" };
            let average = shown(source, "averageValue").map(|shown| format!("{shown} (avg)"));
            average.or_else(|| shown(source, "value")).unwrap_or_default()
        }
        _ => "<unknown type>".to_owned(),
    }
}

pub(super) fn budget(object: &Value, age: Value) -> Vec<Value> {
    let bound = |key: &str| match meta::at(object, &["spec", key]) {
        Some(Value::String(text)) => json!(text),
        Some(number) => json!(number.to_string()),
        None => json!("N/A"),
    };
    let allowed = count(object, &["status", "disruptionsAllowed"]);
    vec![name(object), bound("minAvailable"), bound("maxUnavailable"), json!(allowed), age]
}
