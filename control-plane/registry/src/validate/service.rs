//! Services: ports, addresses, types.
//!
//! Rules: upstream's `ValidateService` and `ValidateServiceUpdate`; single-stack IPv4.

use super::{
    Errors, at_least,
    meta::{invalid, labels, name_errors},
    one_of, port_number, port_reference,
};
use crate::{meta, strategy::NameRule};
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use serde_json::Value;
use std::{collections::BTreeSet, net::IpAddr};

/// A Service's spec.
pub fn service(object: &Value) -> Errors {
    let path = Path::new("spec");
    let spec = &object["spec"];
    let kind = meta::text(spec, &["type"]);
    let headless = meta::text(spec, &["clusterIP"]) == "None";
    let mut errors = Errors::new();
    let types = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    errors.extend(one_of(&path, spec, "type", &types));
    let ports = meta::items(spec, &["ports"]);
    if ports.is_empty() && !headless && kind != "ExternalName" {
        errors.push(FieldError::required(&path.child("ports"), ""));
    }
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            let detail = format!("may not be set to 'None' for {kind} services");
            errors.push(FieldError::invalid(&path.child("clusterIPs").index(0), "None", detail));
        }
        "ExternalName" => {
            let name = meta::text(spec, &["externalName"]);
            let name = name.strip_suffix('.').unwrap_or(name);
            if name.is_empty() {
                errors.push(FieldError::required(&path.child("externalName"), ""));
            } else {
                errors.extend(invalid(&path.child("externalName"), name, names::dns1123_subdomain(name)));
            }
            if !meta::text(spec, &["clusterIP"]).is_empty() {
                let detail = "may not be set when `type` is 'ExternalName'";
                errors.push(FieldError::forbidden(&path.child("clusterIP"), detail));
            }
        }
        _ => {}
    }
    errors.extend(self::ports(&path.child("ports"), ports, kind));
    errors.extend(labels(&path.child("selector"), spec.get("selector")));
    errors.extend(one_of(&path, spec, "sessionAffinity", &["ClientIP", "None"]));
    errors.extend(affinity(&path, spec));
    errors.extend(addresses(&path, spec));
    errors.extend(families(&path, spec));
    if meta::at(spec, &["externalTrafficPolicy"]).is_some() && kind == "ClusterIP" {
        let detail = "may only be set for externally-accessible services";
        if meta::items(spec, &["externalIPs"]).is_empty() {
            let value = spec["externalTrafficPolicy"].clone();
            errors.push(FieldError::invalid(&path.child("externalTrafficPolicy"), value, detail));
        }
    }
    errors.extend(one_of(&path, spec, "externalTrafficPolicy", &["Cluster", "Local"]));
    errors.extend(one_of(&path, spec, "internalTrafficPolicy", &["Cluster", "Local"]));
    errors
}

fn ports(path: &Path, ports: &[Value], kind: &str) -> Errors {
    let mut errors = Errors::new();
    let (mut seen_names, mut seen_ports, mut seen_nodes) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        let name = meta::text(port, &["name"]);
        if name.is_empty() && ports.len() > 1 {
            errors.push(FieldError::required(&path.child("name"), ""));
        } else if !name.is_empty() {
            errors.extend(invalid(&path.child("name"), name, names::dns1123_label(name)));
            if !seen_names.insert(name) {
                errors.push(FieldError::duplicate(&path.child("name"), name));
            }
        }
        let number = meta::number(port, &["port"]).unwrap_or_default();
        errors.extend(port_number(&path.child("port"), number));
        errors.extend(one_of(&path, port, "protocol", &["SCTP", "TCP", "UDP"]));
        if let Some(target) = meta::at(port, &["targetPort"]) {
            errors.extend(port_reference(&path.child("targetPort"), target));
        }
        let protocol = meta::text(port, &["protocol"]);
        if !seen_ports.insert((protocol, number)) {
            let shown = serde_json::json!({"protocol": protocol, "port": number});
            errors.push(FieldError::duplicate(&path, shown));
        }
        let node = meta::number(port, &["nodePort"]).unwrap_or_default();
        if node == 0 {
            continue;
        }
        if matches!(kind, "ClusterIP" | "ExternalName") {
            let detail = format!("may not be used when `type` is '{kind}'");
            errors.push(FieldError::forbidden(&path.child("nodePort"), detail));
        } else if !seen_nodes.insert((protocol, node)) {
            errors.push(FieldError::duplicate(&path.child("nodePort"), node));
        }
    }
    errors
}

fn affinity(path: &Path, spec: &Value) -> Errors {
    let path = path.child("sessionAffinityConfig");
    let Some(client) = meta::at(spec, &["sessionAffinityConfig", "clientIP"]) else { return Errors::new() };
    let seconds = meta::number(client, &["timeoutSeconds"]).unwrap_or(1);
    if (1..=86_400).contains(&seconds) {
        return Errors::new();
    }
    let detail = "must be greater than 0 and less than or equal to 86400";
    vec![FieldError::invalid(&path.child("clientIP").child("timeoutSeconds"), seconds, detail)]
}

fn addresses(path: &Path, spec: &Value) -> Errors {
    let mut errors = Errors::new();
    let ips = meta::items(spec, &["clusterIPs"]);
    if ips.len() > 1 {
        let detail = "dual-stack Services are not supported yet: only one IPv4 address can be given";
        errors.push(FieldError::invalid(&path.child("clusterIPs"), ips.to_vec(), detail));
    }
    let first = ips.first().and_then(Value::as_str).unwrap_or_default();
    let single = meta::text(spec, &["clusterIP"]);
    if first != single {
        let detail = "first value must match `clusterIP`";
        errors.push(FieldError::invalid(&path.child("clusterIPs"), ips.to_vec(), detail));
    }
    if !single.is_empty() && single != "None" {
        let path = path.child("clusterIPs").index(0);
        errors.extend(invalid(&path, single, name_errors(NameRule::Ip, single)));
        if matches!(single.parse(), Ok(IpAddr::V6(_))) {
            let detail = "IPv6 Services are not supported yet";
            errors.push(FieldError::invalid(&path, single, detail));
        }
    }
    for (index, address) in meta::items(spec, &["externalIPs"]).iter().enumerate() {
        let address = address.as_str().unwrap_or_default();
        let path = path.child("externalIPs").index(index);
        errors.extend(invalid(&path, address, name_errors(NameRule::Ip, address)));
    }
    errors.extend(at_least(path, spec, "healthCheckNodePort", 0));
    errors
}

/// What the cluster cannot give is refused by name.
fn families(path: &Path, spec: &Value) -> Errors {
    let mut errors = Errors::new();
    for (index, family) in meta::items(spec, &["ipFamilies"]).iter().enumerate() {
        if family.as_str() != Some("IPv4") {
            let path = path.child("ipFamilies").index(index);
            let detail = "not configured on this cluster";
            errors.push(FieldError::invalid(&path, family.clone(), detail));
        }
    }
    let policy = meta::text(spec, &["ipFamilyPolicy"]);
    if policy == "RequireDualStack" {
        let detail = "Cluster is not configured for dual-stack services";
        errors.push(FieldError::invalid(&path.child("ipFamilyPolicy"), policy, detail));
    }
    let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    errors.extend(one_of(path, spec, "ipFamilyPolicy", &policies));
    errors
}

/// The address of a Service stays, unless it becomes or was an ExternalName.
pub fn update(new: &Value, old: &Value) -> Errors {
    let mut errors = service(new);
    let external = |object: &Value| meta::text(object, &["spec", "type"]) == "ExternalName";
    let had = !meta::text(old, &["spec", "clusterIP"]).is_empty();
    if had && !external(old) && !external(new) {
        let (after, before) = (new.pointer("/spec/clusterIPs"), old.pointer("/spec/clusterIPs"));
        if after != before {
            let path = Path::new("spec.clusterIPs").index(0);
            let first = after.and_then(|ips| ips.get(0)).cloned().unwrap_or_default();
            errors.push(FieldError::invalid(&path, first, "may not change once set"));
        }
    }
    errors
}
