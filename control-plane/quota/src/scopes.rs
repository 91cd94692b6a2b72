//! Scopes: which objects a quota is about. A quota without scopes is about all.

use keelson_semantics::{PodResources, QosClass};
use serde::Deserialize;
use serde_json::Value;

/// Whether the quota is about this object. Only pods have scopes, and claims the one of their attributes' class.
pub fn matches(quota: &Value, group: &str, plural: &str, object: &Value) -> bool {
    let spec = &quota["spec"];
    let plain = list(&spec["scopes"]).iter().map(|scope| Requirement {
        scope: scope.as_str().unwrap_or_default(),
        operator: "Exists",
        values: &[],
    });
    let selected = list(&spec["scopeSelector"]["matchExpressions"]).iter().map(|one| Requirement {
        scope: one["scopeName"].as_str().unwrap_or_default(),
        operator: one["operator"].as_str().unwrap_or_default(),
        values: list(&one["values"]),
    });
    plain.chain(selected).all(|requirement| match (group, plural) {
        ("", "pods") => requirement.holds_for_pod(object),
        ("", "persistentvolumeclaims") => requirement.holds_for_claim(object),
        _ => false,
    })
}

struct Requirement<'a> {
    scope: &'a str,
    operator: &'a str,
    values: &'a [Value],
}

impl Requirement<'_> {
    fn holds_for_pod(&self, pod: &Value) -> bool {
        let spec = &pod["spec"];
        let ends = spec["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 0);
        match self.scope {
            "Terminating" => ends,
            "NotTerminating" => !ends,
            "BestEffort" => is_best_effort(spec),
            "NotBestEffort" => !is_best_effort(spec),
            "CrossNamespacePodAffinity" => reaches_other_namespaces(spec),
            "PriorityClass" => {
                let class = spec["priorityClassName"].as_str().unwrap_or_default();
                self.holds_for(if class.is_empty() { &[] } else { std::slice::from_ref(&class) })
            }
            _ => false,
        }
    }

    fn holds_for_claim(&self, claim: &Value) -> bool {
        let status = &claim["status"];
        let classes: Vec<&str> = [
            &claim["spec"]["volumeAttributesClassName"],
            &status["currentVolumeAttributesClassName"],
            &status["modifyVolumeStatus"]["targetVolumeAttributesClassName"],
        ]
        .into_iter()
        .filter_map(Value::as_str)
        .filter(|class| !class.is_empty())
        .collect();
        self.scope == "VolumeAttributesClass" && self.holds_for(&classes)
    }

    fn holds_for(&self, named: &[&str]) -> bool {
        let among = self.values.iter().filter_map(Value::as_str).any(|value| named.contains(&value));
        match self.operator {
            "Exists" => !named.is_empty(),
            "DoesNotExist" => named.is_empty(),
            "In" => among,
            "NotIn" => !among,
            _ => false,
        }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn is_best_effort(spec: &Value) -> bool {
    PodResources::deserialize(spec).is_ok_and(|resources| resources.qos_class() == QosClass::BestEffort)
}

/// Whether a term of (anti-)affinity names namespaces or selects them.
fn reaches_other_namespaces(spec: &Value) -> bool {
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let affinity = &spec["affinity"][*kind];
        let required = list(&affinity["requiredDuringSchedulingIgnoredDuringExecution"]).iter();
        let preferred = list(&affinity["preferredDuringSchedulingIgnoredDuringExecution"]).iter();
        required
            .chain(preferred.map(|term| &term["podAffinityTerm"]))
            .any(|term| !list(&term["namespaces"]).is_empty() || !term["namespaceSelector"].is_null())
    })
}
