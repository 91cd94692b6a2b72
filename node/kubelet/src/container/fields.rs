//! What `fieldRef` and `resourceFieldRef` can name, for environment variables and downward API volumes.
//! Rules: API reference, ObjectFieldSelector and ResourceFieldSelector.

use std::collections::BTreeMap;
use std::fmt::Write;

use k8s_openapi::api::core::v1::{self, Pod, PodSpec, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use keelson_semantics::Quantity;
use keelson_semantics::resources::{ResourceList, ResourceRequirements};

use super::ConfigError;
use crate::context::Capacity;

/// The pod's facts that a field can name.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodFacts {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// `spec.nodeName`.
    pub node_name: String,
    /// `spec.serviceAccountName`.
    pub service_account: String,
    /// `status.hostIPs`.
    pub host_ips: Vec<String>,
    /// `status.podIPs`.
    pub pod_ips: Vec<String>,
}

impl PodFacts {
    /// Reads a pod; addresses are given, as its status may not have them yet.
    pub(crate) fn of(pod: &Pod, host_ips: &[String], pod_ips: &[String]) -> Self {
        let spec = pod.spec.as_ref();
        Self {
            name: pod.metadata.name.clone().unwrap_or_default(),
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            labels: pod.metadata.labels.clone().unwrap_or_default(),
            annotations: pod.metadata.annotations.clone().unwrap_or_default(),
            node_name: spec.and_then(|s| s.node_name.clone()).unwrap_or_default(),
            service_account: spec.and_then(|s| s.service_account_name.clone()).unwrap_or_default(),
            host_ips: host_ips.to_vec(),
            pod_ips: pod_ips.to_vec(),
        }
    }

    /// Value of `path`.
    pub(crate) fn field(&self, path: &str) -> Result<String, ConfigError> {
        if let Some((map, key)) = subscript(path) {
            let map = match map {
                "metadata.labels" => &self.labels,
                "metadata.annotations" => &self.annotations,
                _ => return Err(unsupported(path)),
            };
            return Ok(map.get(key).cloned().unwrap_or_default());
        }
        Ok(match path {
            "metadata.name" => self.name.clone(),
            "metadata.namespace" => self.namespace.clone(),
            "metadata.uid" => self.uid.clone(),
            "metadata.labels" => lines(&self.labels),
            "metadata.annotations" => lines(&self.annotations),
            "spec.nodeName" => self.node_name.clone(),
            "spec.serviceAccountName" => self.service_account.clone(),
            "status.hostIP" => self.host_ips.first().cloned().unwrap_or_default(),
            "status.hostIPs" => self.host_ips.join(","),
            "status.podIP" => self.pod_ips.first().cloned().unwrap_or_default(),
            "status.podIPs" => self.pod_ips.join(","),
            _ => return Err(unsupported(path)),
        })
    }
}

fn unsupported(path: &str) -> ConfigError {
    ConfigError::config(format!("unsupported fieldPath: {path}"))
}

/// Splits `metadata.labels['key']`.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// A map as a file shows it: `key="value"` a line, sorted, values quoted as Go quotes them.
fn lines(map: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    for (key, value) in map {
        if !out.is_empty() {
            out.push('\n');
        }
        let _ = write!(out, "{key}={value:?}");
    }
    out
}

/// Value of a `resourceFieldRef`. Where a limit is not set, it is what the node can give.
pub(crate) fn resource_field(
    spec: &PodSpec,
    own: &str,
    selector: &ResourceFieldSelector,
    node: &Capacity,
) -> Result<String, ConfigError> {
    let name = selector.container_name.as_deref().filter(|n| !n.is_empty()).unwrap_or(own);
    let container = crate::pod::container(spec, name)
        .ok_or_else(|| ConfigError::config(format!("container \"{name}\" not found")))?;
    let (side, resource) = selector.resource.split_once('.').ok_or_else(|| {
        ConfigError::config(format!("unsupported container resource: {}", selector.resource))
    })?;
    let resources = container.resources.clone().unwrap_or_default();
    let list = |list: Option<BTreeMap<String, _>>| parse(&list.unwrap_or_default());
    let limits = list(resources.limits);
    let amount = match side {
        "limits" => limits.get(resource).copied().or_else(|| node.get(resource)),
        "requests" => list(resources.requests).get(resource).or_else(|| limits.get(resource)).copied(),
        _ => {
            return Err(ConfigError::config(format!(
                "unsupported container resource: {}",
                selector.resource
            )));
        }
    };
    let divisor = selector.divisor.as_ref().and_then(|d| d.0.parse().ok()).filter(|d| *d != Quantity::ZERO);
    Ok(divide(resource, amount.unwrap_or(Quantity::ZERO), divisor).to_string())
}

/// Quantities of an API object. The API server has let only valid ones pass; others count as absent.
pub(crate) fn parse(list: &BTreeMap<String, ApiQuantity>) -> ResourceList {
    list.iter().filter_map(|(name, amount)| Some((name.clone(), amount.0.parse().ok()?))).collect()
}

/// Requests and limits of an API object.
pub(crate) fn requirements(given: Option<&v1::ResourceRequirements>) -> ResourceRequirements {
    let list = |list: Option<&BTreeMap<_, _>>| list.map(parse).unwrap_or_default();
    ResourceRequirements {
        limits: list(given.and_then(|given| given.limits.as_ref())),
        requests: list(given.and_then(|given| given.requests.as_ref())),
    }
}

/// The same as the API has it; None where there is nothing.
pub(crate) fn quantities(list: &ResourceList) -> Option<BTreeMap<String, ApiQuantity>> {
    let all = list.iter().map(|(name, amount)| (name.clone(), ApiQuantity(amount.to_string())));
    (!list.is_empty()).then(|| all.collect())
}

/// In units of the divisor (default 1), rounded up. CPU is counted in thousandths.
fn divide(resource: &str, amount: Quantity, divisor: Option<Quantity>) -> i64 {
    let ratio = |amount: i64, unit: i64| {
        amount.div_euclid(unit.max(1)) + i64::from(amount.rem_euclid(unit.max(1)) > 0)
    };
    if resource == "cpu" {
        ratio(amount.milli_value(), divisor.map_or(1000, Quantity::milli_value))
    } else {
        ratio(amount.value(), divisor.map_or(1, Quantity::value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_those_of_the_api_reference_and_others_are_refused_by_name() {
        let facts = PodFacts {
            name: "web-1".into(),
            labels: BTreeMap::from([("app".into(), "web".into()), ("b".into(), "x\"y".into())]),
            pod_ips: vec!["10.244.0.5".into(), "fd00::5".into()],
            ..Default::default()
        };
        for (path, expected) in [
            ("metadata.name", "web-1"),
            ("metadata.labels['app']", "web"),
            ("metadata.labels['none']", ""),
            ("metadata.labels", "app=\"web\"\nb=\"x\\\"y\""),
            ("status.podIP", "10.244.0.5"),
            ("status.podIPs", "10.244.0.5,fd00::5"),
        ] {
            assert_eq!(facts.field(path).unwrap(), expected, "{path}");
        }
        let error = facts.field("spec.hostname").unwrap_err();
        assert_eq!(error.to_string(), "unsupported fieldPath: spec.hostname");
    }

    #[test]
    fn resources_are_rounded_up_to_the_divisor() {
        let quantity = |text: &str| text.parse::<Quantity>().unwrap();
        assert_eq!(divide("cpu", quantity("250m"), None), 1);
        assert_eq!(divide("cpu", quantity("250m"), Some(quantity("1m"))), 250);
        assert_eq!(divide("memory", quantity("64Mi"), Some(quantity("1Mi"))), 64);
        assert_eq!(divide("memory", quantity("64Mi"), None), 64 << 20);
    }
}
