//! Where traffic comes from and where it may go: load balancers, traffic policies, distribution.

use super::super::{Errors, ip, meta::invalid, one_of, port_number};
use super::needs::{self, kind};
use crate::meta;
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use serde_json::Value;

const ONLY_LOAD_BALANCER: &str = "may only be used when `type` is 'LoadBalancer'";
const RANGES_ANNOTATION: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

pub(super) fn load_balancer(path: &Path, object: &Value, old: Option<&Value>) -> Errors {
    let is_one = kind(object) == "LoadBalancer";
    let mut errors = source_ranges(path, object, old, is_one);
    if meta::at(object, &["spec", "allocateLoadBalancerNodePorts"]).is_some() && !is_one {
        errors.push(FieldError::forbidden(&path.child("allocateLoadBalancerNodePorts"), ONLY_LOAD_BALANCER));
    }
    if let Some(class) = meta::at(object, &["spec", "loadBalancerClass"]).and_then(Value::as_str) {
        let path = path.child("loadBalancerClass");
        match is_one {
            true => errors.extend(invalid(&path, class, names::qualified_name(class))),
            false => errors.push(FieldError::forbidden(&path, ONLY_LOAD_BALANCER)),
        }
    }
    errors
}

/// The field or, without it, the annotation of old.
fn source_ranges(path: &Path, object: &Value, old: Option<&Value>, is_one: bool) -> Errors {
    let mut errors = Errors::new();
    let before: Vec<&str> = old.map(declared_ranges).unwrap_or_default();
    if !meta::items(object, &["spec", "loadBalancerSourceRanges"]).is_empty() {
        // Upstream's path begins in upper case.
        let path = path.child("LoadBalancerSourceRanges");
        if !is_one {
            errors.push(FieldError::forbidden(&path, ONLY_LOAD_BALANCER));
        }
        for (index, text) in declared_ranges(object).into_iter().enumerate() {
            errors.extend(ip::range(&path.index(index), text, &before));
        }
    } else if meta::at(object, &["metadata", "annotations", RANGES_ANNOTATION]).is_some() {
        let path = Path::new("metadata.annotations").key(RANGES_ANNOTATION);
        if !is_one {
            errors.push(FieldError::forbidden(&path, ONLY_LOAD_BALANCER));
        }
        for text in declared_ranges(object) {
            errors.extend(ip::range(&path, text, &before));
        }
    }
    errors
}

/// White space around them has always been taken.
fn declared_ranges(object: &Value) -> Vec<&str> {
    let listed = meta::items(object, &["spec", "loadBalancerSourceRanges"]);
    if !listed.is_empty() {
        return listed.iter().map(|text| text.as_str().unwrap_or_default().trim()).collect();
    }
    let annotation = meta::text(object, &["metadata", "annotations", RANGES_ANNOTATION]).trim();
    annotation.split(',').map(str::trim).filter(|_| !annotation.is_empty()).collect()
}

pub(super) fn policies(path: &Path, object: &Value) -> Errors {
    let spec = &object["spec"];
    let mut errors = Errors::new();
    let external = path.child("externalTrafficPolicy");
    match (needs::is_external(object), meta::text(spec, &["externalTrafficPolicy"])) {
        (true, "") => errors.push(FieldError::required(&external, "")),
        (true, _) => errors.extend(one_of(path, spec, "externalTrafficPolicy", &["Cluster", "Local"])),
        (false, "") => {}
        (false, policy) => {
            let detail = "may only be set for externally-accessible services";
            errors.push(FieldError::invalid(&external, policy, detail));
        }
    }
    errors.extend(health(&path.child("healthCheckNodePort"), object));
    errors.extend(one_of(path, spec, "internalTrafficPolicy", &["Cluster", "Local"]));
    let known = ["PreferClose", "PreferSameNode", "PreferSameZone"];
    errors.extend(one_of(path, spec, "trafficDistribution", &known));
    errors
}

/// Without one a port is allocated, after validation.
fn health(path: &Path, object: &Value) -> Errors {
    match needs::health_port(object) {
        0 => Errors::new(),
        port if needs::needs_health_port(object) => port_number(path, port),
        port => {
            let detail =
                "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            vec![FieldError::invalid(path, port, detail)]
        }
    }
}
