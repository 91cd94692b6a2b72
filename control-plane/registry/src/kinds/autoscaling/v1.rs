//! autoscaling/v1 over autoscaling/v2: what v1 has no field for stands in annotations, as JSON of v1's own types.
//!
//! Rules: upstream's conversion in `pkg/apis/autoscaling/v1` and the annotations of `pkg/apis/autoscaling/annotations.go`.

use crate::{kind::Conversion, meta};
use serde_json::{Map, Value, json};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const ANNOTATIONS: [&str; 4] = [METRICS, BEHAVIOR, CONDITIONS, CURRENT_METRICS];

/// Keys of a metric's source by type, (v2, v1): the target's or current value's fields, and the names' fields.
struct Source {
    key: &'static str,
    /// In v2 below `target` (spec) and `current` (status): (v2 field, v1 field in spec, v1 field in status).
    values: &'static [(&'static str, &'static str, &'static str)],
    /// (path in v2, field in v1).
    names: &'static [(&'static [&'static str], &'static str)],
}

const METRIC: (&[&str], &str) = (&["metric", "name"], "metricName");
const SELECTOR: (&[&str], &str) = (&["metric", "selector"], "selector");
const UTILIZATION: (&str, &str, &str) =
    ("averageUtilization", "targetAverageUtilization", "currentAverageUtilization");
const AVERAGE: (&str, &str, &str) = ("averageValue", "targetAverageValue", "currentAverageValue");

const SOURCES: &[Source] = &[
    Source { key: "resource", values: &[UTILIZATION, AVERAGE], names: &[(&["name"], "name")] },
    Source {
        key: "containerResource",
        values: &[UTILIZATION, AVERAGE],
        names: &[(&["name"], "name"), (&["container"], "container")],
    },
    Source { key: "pods", values: &[AVERAGE], names: &[METRIC, SELECTOR] },
    Source {
        key: "object",
        values: &[("value", "targetValue", "currentValue"), ("averageValue", "averageValue", "averageValue")],
        names: &[METRIC, SELECTOR, (&["describedObject"], "target")],
    },
    Source {
        key: "external",
        values: &[("value", "targetValue", "currentValue"), AVERAGE],
        names: &[METRIC, (&["metric", "selector"], "metricSelector")],
    },
];

/// autoscaling/v1 over autoscaling/v2.
pub struct AsV2;

impl Conversion for AsV2 {
    fn stored(&self) -> (&'static str, &'static str) {
        ("autoscaling", "horizontalpodautoscalers")
    }

    fn stored_version(&self) -> &'static str {
        "v2"
    }

    fn to_stored(&self, object: Value) -> Value {
        to_v2(object)
    }

    fn to_view(&self, object: Value) -> Value {
        to_v1(object)
    }
}

/// From v1 to v2.
pub fn to_v2(mut object: Value) -> Value {
    let annotated = |object: &Value, key: &str| -> Option<Value> {
        serde_json::from_str(meta::text(object, &["metadata", "annotations", key])).ok()
    };
    let lists = |value: Option<Value>, part: &str| -> Vec<Value> {
        let all = value.and_then(|value| value.as_array().cloned()).unwrap_or_default();
        all.iter().map(|metric| metric_to_v2(metric, part)).collect()
    };
    let mut metrics = lists(annotated(&object, METRICS), "target");
    let current = annotated(&object, CURRENT_METRICS);
    let (behavior, conditions) = (annotated(&object, BEHAVIOR), annotated(&object, CONDITIONS));
    drop_annotations(&mut object);
    let map = meta::map_of(&mut object);
    map.insert("apiVersion".to_owned(), json!("autoscaling/v2"));
    if let Some(Value::Object(spec)) = map.get_mut("spec") {
        if let Some(percent) = spec.remove("targetCPUUtilizationPercentage").filter(|value| !value.is_null())
        {
            metrics.push(cpu("target", json!({"type": "Utilization", "averageUtilization": percent})));
        }
        if !metrics.is_empty() {
            spec.insert("metrics".to_owned(), Value::Array(metrics));
        }
        insert(spec, "behavior", behavior.filter(Value::is_object));
    }
    if let Some(Value::Object(status)) = map.get_mut("status") {
        let percent = status.remove("currentCPUUtilizationPercentage").filter(|value| !value.is_null());
        let from_field = percent.map(|percent| vec![cpu("current", json!({"averageUtilization": percent}))]);
        let from_annotation = current.map(|current| lists(Some(current), "current"));
        insert(status, "currentMetrics", from_annotation.or(from_field).map(Value::Array));
        insert(status, "conditions", conditions.filter(Value::is_array));
    }
    object
}

fn to_v1(mut object: Value) -> Value {
    drop_annotations(&mut object);
    let map = meta::map_of(&mut object);
    map.insert("apiVersion".to_owned(), json!("autoscaling/v1"));
    let mut notes: Vec<(&str, Value)> = Vec::new();
    if let Some(Value::Object(spec)) = map.get_mut("spec") {
        let (own, others) = split(spec.remove("metrics"), "target");
        insert(spec, "targetCPUUtilizationPercentage", own);
        if !others.is_empty() {
            notes.push((METRICS, others.iter().map(|metric| metric_to_v1(metric, "target")).collect()));
        }
        notes.extend(spec.remove("behavior").map(|behavior| (BEHAVIOR, behavior)));
    }
    if let Some(Value::Object(status)) = map.get_mut("status") {
        let current =
            status.remove("currentMetrics").filter(|list| list.as_array().is_some_and(|l| !l.is_empty()));
        if let Some(list) = &current {
            let all = list.as_array().into_iter().flatten();
            notes.push((CURRENT_METRICS, all.map(|metric| metric_to_v1(metric, "current")).collect()));
        }
        insert(status, "currentCPUUtilizationPercentage", split(current, "current").0);
        let conditions = status.remove("conditions");
        let conditions = conditions.filter(|list| list.as_array().is_some_and(|list| !list.is_empty()));
        notes.extend(conditions.map(|conditions| (CONDITIONS, conditions)));
        status.entry("currentReplicas").or_insert(json!(0));
    }
    if !notes.is_empty() {
        let annotations = meta::metadata(&mut object).entry("annotations").or_insert_with(|| json!({}));
        for (key, value) in notes {
            meta::map_of(annotations).insert(key.to_owned(), Value::String(value.to_string()));
        }
    }
    object
}

fn insert(map: &mut Map<String, Value>, key: &str, value: Option<Value>) {
    if let Some(value) = value {
        map.insert(key.to_owned(), value);
    }
}

fn cpu(part: &str, value: Value) -> Value {
    json!({"type": "Resource", "resource": {"name": "cpu", part: value}})
}

/// The utilization of the first metric of the pods' CPU, which v1 has a field for, and all metrics that are no such.
fn split(metrics: Option<Value>, part: &str) -> (Option<Value>, Vec<Value>) {
    let mut first = None;
    let all = metrics.and_then(|metrics| metrics.as_array().cloned()).unwrap_or_default();
    let others = all.into_iter().filter(|metric| {
        let of = |path: &[&str]| meta::at(metric, path);
        let is_cpu =
            meta::text(metric, &["type"]) == "Resource" && meta::text(metric, &["resource", "name"]) == "cpu";
        match of(&["resource", part, "averageUtilization"]).filter(|_| is_cpu) {
            None => true,
            Some(percent) => {
                first.get_or_insert_with(|| percent.clone());
                false
            }
        }
    });
    let others = others.collect();
    (first, others)
}

fn drop_annotations(object: &mut Value) {
    let metadata = meta::metadata(object);
    let Some(Value::Object(annotations)) = metadata.get_mut("annotations") else { return };
    for key in ANNOTATIONS {
        annotations.remove(key);
    }
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
}

/// `part` is `target` for what is wanted, `current` for what is.
fn metric_to_v1(metric: &Value, part: &str) -> Value {
    let mut next = json!({"type": metric["type"]});
    for source in SOURCES {
        let Some(from) = meta::at(metric, &[source.key]) else { continue };
        let mut to = Map::new();
        for (path, key) in source.names {
            insert(&mut to, key, meta::at(from, path).cloned());
        }
        for (v2, target, current) in source.values {
            let key = if part == "target" { target } else { current };
            insert(&mut to, key, meta::at(from, &[part, v2]).cloned());
        }
        next[source.key] = Value::Object(to);
    }
    next
}

fn metric_to_v2(metric: &Value, part: &str) -> Value {
    let mut next = json!({"type": metric["type"]});
    for source in SOURCES {
        let Some(from) = meta::at(metric, &[source.key]) else { continue };
        let mut to = json!({});
        for (path, key) in source.names {
            let Some(value) = meta::at(from, &[key]) else { continue };
            match path {
                [outer, inner] => to[*outer][*inner] = value.clone(),
                path => to[path[0]] = value.clone(),
            }
        }
        let mut values = Map::new();
        for (v2, target, current) in source.values {
            let key = if part == "target" { target } else { current };
            insert(&mut values, v2, meta::at(from, &[key]).cloned());
        }
        if part == "target" {
            let kinds =
                [("averageUtilization", "Utilization"), ("averageValue", "AverageValue"), ("value", "Value")];
            let kind = kinds.iter().find(|(key, _)| values.contains_key(*key));
            insert(&mut values, "type", kind.map(|(_, kind)| json!(kind)));
        }
        to[part] = Value::Object(values);
        next[source.key] = to;
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2() -> Value {
        json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "a", "annotations": {"mine": "x"}},
            "spec": {
                "maxReplicas": 5, "minReplicas": 1,
                "scaleTargetRef": {"kind": "Deployment", "name": "web"},
                "metrics": [
                    {"type": "Pods", "pods": {
                        "metric": {"name": "rps", "selector": {"matchLabels": {"a": "b"}}},
                        "target": {"type": "AverageValue", "averageValue": "10"},
                    }},
                    {"type": "Object", "object": {
                        "metric": {"name": "hits"}, "describedObject": {"kind": "Service", "name": "s"},
                        "target": {"type": "Value", "value": "7"},
                    }},
                    {"type": "ContainerResource", "containerResource": {
                        "name": "memory", "container": "c", "target": {"type": "Utilization", "averageUtilization": 60},
                    }},
                    {"type": "Resource", "resource": {
                        "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50},
                    }},
                ],
                "behavior": {"scaleUp": {"stabilizationWindowSeconds": 3}},
            },
            "status": {
                "currentReplicas": 2, "desiredReplicas": 3,
                "currentMetrics": [{"type": "Resource", "resource": {
                    "name": "cpu", "current": {"averageUtilization": 40, "averageValue": "3m"},
                }}],
                "conditions": [{"type": "AbleToScale", "status": "True"}],
            },
        })
    }

    #[test]
    fn what_v1_has_no_field_for_is_kept_in_annotations() {
        let view = to_v1(v2());
        assert_eq!(view["apiVersion"], "autoscaling/v1");
        assert_eq!(view["spec"]["targetCPUUtilizationPercentage"], 50);
        assert_eq!(view["status"]["currentCPUUtilizationPercentage"], 40);
        assert_eq!((view["spec"].get("metrics"), view["status"].get("conditions")), (None, None));
        let metrics: Value =
            serde_json::from_str(view["metadata"]["annotations"][METRICS].as_str().expect("a text"))
                .expect("JSON");
        let pods =
            json!({"metricName": "rps", "targetAverageValue": "10", "selector": {"matchLabels": {"a": "b"}}});
        assert_eq!(metrics[0], json!({"type": "Pods", "pods": pods}));
        assert_eq!(to_v2(view), v2(), "nothing is lost on the way back");
    }

    #[test]
    fn an_autoscaler_of_v1_alone_is_one_of_cpu() {
        let v1 = json!({
            "apiVersion": "autoscaling/v1", "metadata": {"name": "a"},
            "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 80},
            "status": {"currentReplicas": 0, "desiredReplicas": 0},
        });
        let stored = to_v2(v1.clone());
        assert_eq!(stored["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 80);
        assert_eq!(to_v1(stored), v1);
        let mut garbled = v1;
        garbled["metadata"]["annotations"] = json!({METRICS: "{"});
        assert_eq!(to_v2(garbled)["metadata"].get("annotations"), None, "what cannot be read is not kept");
    }
}
