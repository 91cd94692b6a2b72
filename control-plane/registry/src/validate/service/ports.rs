//! spec.ports of a Service.

use super::super::{Errors, meta::invalid, one_of, port_number, port_reference};
use crate::meta;
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub(super) fn ports(path: &Path, ports: &[Value], kind: &str) -> Errors {
    let mut errors = Errors::new();
    let mut seen_names = BTreeSet::new();
    let (mut seen_ports, mut seen_nodes) = (BTreeSet::new(), BTreeSet::new());
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
        errors.extend(one(&path, port));
        let protocol = meta::text(port, &["protocol"]);
        let number = meta::number(port, &["port"]).unwrap_or_default();
        if !seen_ports.insert((protocol, number)) {
            errors.push(FieldError::duplicate(&path, json!({"protocol": protocol, "port": number})));
        }
        let node = meta::number(port, &["nodePort"]).unwrap_or_default();
        if node == 0 {
            continue;
        }
        if kind == "ClusterIP" {
            let detail = "may not be used when `type` is 'ClusterIP'";
            errors.push(FieldError::forbidden(&path.child("nodePort"), detail));
        }
        if !seen_nodes.insert((protocol, node)) {
            errors.push(FieldError::duplicate(&path.child("nodePort"), node));
        }
    }
    errors
}

fn one(path: &Path, port: &Value) -> Errors {
    let mut errors = port_number(&path.child("port"), meta::number(port, &["port"]).unwrap_or_default());
    errors.extend(one_of(path, port, "protocol", &["SCTP", "TCP", "UDP"]));
    if let Some(target) = meta::at(port, &["targetPort"]) {
        errors.extend(port_reference(&path.child("targetPort"), target));
    }
    if let Some(protocol) = meta::at(port, &["appProtocol"]).and_then(Value::as_str) {
        errors.extend(invalid(&path.child("appProtocol"), protocol, names::qualified_name(protocol)));
    }
    errors
}
