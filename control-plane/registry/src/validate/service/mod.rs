//! Services: ports, addresses, types.
//!
//! Rules: upstream's `ValidateService`, `ValidateServiceUpdate` and `ValidateServiceStatusUpdate`. What depends on the
//! ranges that the cluster has is told where addresses are allocated.

mod addresses;
pub mod needs;
mod ports;
pub mod status;
mod traffic;
mod update;

pub use update::update;

use super::{Errors, ip, meta::invalid, meta::labels, one_of};
use crate::meta;
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use needs::{is_headless, kind};
use serde_json::Value;

/// The port of the node daemon's API, which no load balancer may lead to.
const KUBELET_PORT: i64 = 10_250;

/// A Service's spec. What of its addresses was in `old` is not refused for its form.
pub fn service(object: &Value, old: Option<&Value>) -> Errors {
    let path = Path::new("spec");
    let spec = &object["spec"];
    let types = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    let mut errors = topology_annotations(object);
    let ports = meta::items(spec, &["ports"]);
    if ports.is_empty() && !is_headless(object) && kind(object) != "ExternalName" {
        errors.push(FieldError::required(&path.child("ports"), ""));
    }
    errors.extend(of_type(&path, object));
    errors.extend(ports::ports(&path.child("ports"), ports, kind(object)));
    errors.extend(labels(&path.child("selector"), spec.get("selector")));
    errors.extend(one_of(&path, spec, "sessionAffinity", &["ClientIP", "None"]));
    errors.extend(affinity(&path, spec));
    errors.extend(addresses::addresses(&path, object, old));
    errors.extend(addresses::policy(&path, object));
    errors.extend(external_ips(&path, object, old));
    errors.extend(one_of(&path, spec, "type", &types));
    errors.extend(traffic::load_balancer(&path, object, old));
    errors.extend(traffic::policies(&path, object));
    errors
}

fn topology_annotations(object: &Value) -> Errors {
    const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
    const MODE: &str = "service.kubernetes.io/topology-mode";
    let of = |key| meta::at(object, &["metadata", "annotations", key]).and_then(Value::as_str);
    match (of(MODE), of(HINTS)) {
        (Some(mode), Some(hints)) if mode != hints => {
            let detail = format!("must match annotations[{HINTS}] when both are specified");
            vec![FieldError::invalid(&Path::new("metadata.annotations").key(MODE), mode, detail)]
        }
        _ => Errors::new(),
    }
}

fn of_type(path: &Path, object: &Value) -> Errors {
    let mut errors = Errors::new();
    let kind = kind(object);
    match kind {
        "LoadBalancer" | "NodePort" => {
            for (index, port) in meta::items(object, &["spec", "ports"]).iter().enumerate() {
                let number = meta::number(port, &["port"]).unwrap_or_default();
                if kind == "LoadBalancer" && number == KUBELET_PORT {
                    let detail =
                        format!("may not expose port {number} externally since it is used by kubelet");
                    errors.push(FieldError::invalid(&path.child("ports").index(index), number, detail));
                }
            }
            if is_headless(object) {
                let detail = format!("may not be set to 'None' for {kind} services");
                errors.push(FieldError::invalid(&path.child("clusterIPs").index(0), needs::HEADLESS, detail));
            }
        }
        "ExternalName" => {
            for key in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                let set = match meta::at(object, &["spec", key]) {
                    Some(Value::Array(items)) => !items.is_empty(),
                    other => other.is_some(),
                };
                if set {
                    let detail = "may not be set for ExternalName services";
                    errors.push(FieldError::forbidden(&path.child(key), detail));
                }
            }
            let name = meta::text(object, &["spec", "externalName"]);
            let name = name.strip_suffix('.').unwrap_or(name);
            let path = path.child("externalName");
            if name.is_empty() {
                errors.push(FieldError::required(&path, ""));
            } else {
                errors.extend(invalid(&path, name, names::dns1123_subdomain(name)));
            }
        }
        _ => {}
    }
    errors
}

/// The default fills in what ClientIP needs; None has no configuration.
fn affinity(path: &Path, spec: &Value) -> Errors {
    const SECONDS_MAX: i64 = 86_400;
    let path = path.child("sessionAffinityConfig");
    let config = meta::at(spec, &["sessionAffinityConfig"]);
    match (meta::text(spec, &["sessionAffinity"]), config) {
        ("ClientIP", Some(config)) => {
            let path = path.child("clientIP").child("timeoutSeconds");
            match meta::number(config, &["clientIP", "timeoutSeconds"]) {
                None => vec![FieldError::required(&path, "when session affinity type is ClientIP")],
                Some(seconds) if !(1..=SECONDS_MAX).contains(&seconds) => {
                    let detail = format!("must be greater than 0 and less than {SECONDS_MAX}");
                    vec![FieldError::invalid(&path, seconds, detail)]
                }
                Some(_) => Errors::new(),
            }
        }
        ("ClientIP", None) => {
            vec![FieldError::required(&path, "when session affinity type is ClientIP")]
        }
        ("None", Some(_)) => {
            vec![FieldError::forbidden(&path, "must not be set when session affinity is None")]
        }
        _ => Errors::new(),
    }
}

fn external_ips(path: &Path, object: &Value, old: Option<&Value>) -> Errors {
    let list = |object| meta::items(object, &["spec", "externalIPs"]);
    let before: Vec<&str> = old.into_iter().flat_map(list).filter_map(Value::as_str).collect();
    let mut errors = Errors::new();
    for (index, address) in list(object).iter().enumerate() {
        let address = address.as_str().unwrap_or_default();
        let path = path.child("externalIPs").index(index);
        let found = ip::address(&path, address, &before);
        errors.extend(if found.is_empty() { ip::reachable(&path, address) } else { found });
    }
    errors
}
