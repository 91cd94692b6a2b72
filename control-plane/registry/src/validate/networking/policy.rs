//! Network policies: selectors, peers, ports.
//!
//! Rules: upstream's `ValidateNetworkPolicySpec`.

use super::super::{Errors, ip, one_of, port_reference, selector::label_selector};
use crate::meta;
use ipnet::IpNet;
use keelson_schema::{FieldError, Path};
use serde_json::{Value, json};

const TYPES: [&str; 2] = ["Egress", "Ingress"];

/// A NetworkPolicy's spec. Ranges that were in `old` are not refused for their form.
pub fn policy(object: &Value, old: Option<&Value>) -> Errors {
    let path = Path::new("spec");
    let before: Vec<&str> = old.map(ranges).unwrap_or_default();
    let selector = meta::at(object, &["spec", "podSelector"]).unwrap_or(&Value::Null);
    let mut errors = label_selector(&path.child("podSelector"), selector);
    for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
        for (index, rule) in meta::items(object, &["spec", rules]).iter().enumerate() {
            let path = path.child(rules).index(index);
            for (index, port) in meta::items(rule, &["ports"]).iter().enumerate() {
                errors.extend(self::port(&path.child("ports").index(index), port));
            }
            for (index, peer) in meta::items(rule, &[peers]).iter().enumerate() {
                errors.extend(self::peer(&path.child(peers).index(index), peer, &before));
            }
        }
    }
    errors.extend(types(&path.child("policyTypes"), meta::items(object, &["spec", "policyTypes"])));
    errors
}

fn types(path: &Path, types: &[Value]) -> Errors {
    if types.len() > TYPES.len() {
        let detail = "may not specify more than two policyTypes";
        return vec![FieldError::invalid(path, json!(types), detail)];
    }
    let unknown =
        types.iter().enumerate().filter(|(_, text)| !text.as_str().is_some_and(|t| TYPES.contains(&t)));
    unknown.map(|(index, text)| FieldError::not_supported(&path.index(index), text.clone(), &TYPES)).collect()
}

fn port(path: &Path, port: &Value) -> Errors {
    let mut errors: Errors = one_of(path, port, "protocol", &["SCTP", "TCP", "UDP"]).into_iter().collect();
    let end_path = path.child("endPort");
    let end = meta::number(port, &["endPort"]);
    let start = meta::at(port, &["port"]);
    errors.extend(start.map(|start| port_reference(&path.child("port"), start)).unwrap_or_default());
    match (start, end) {
        (_, None) => {}
        (None, Some(end)) => {
            let detail = "may not be specified when `port` is not specified";
            errors.push(FieldError::invalid(&end_path, end, detail));
        }
        (Some(Value::Number(start)), Some(end)) => {
            if start.as_i64().is_some_and(|start| end < start) {
                let detail = "must be greater than or equal to `port`";
                errors.push(FieldError::invalid(&end_path, end, detail));
            }
            errors.extend(super::super::port_number(&end_path, end));
        }
        (Some(_), Some(end)) => {
            let detail = "may not be specified when `port` is non-numeric";
            errors.push(FieldError::invalid(&end_path, end, detail));
        }
    }
    errors
}

fn peer(path: &Path, peer: &Value, before: &[&str]) -> Errors {
    let mut errors = Errors::new();
    let mut selectors = 0;
    for key in ["podSelector", "namespaceSelector"] {
        if let Some(selector) = meta::at(peer, &[key]) {
            selectors += 1;
            errors.extend(label_selector(&path.child(key), selector));
        }
    }
    match (meta::at(peer, &["ipBlock"]), selectors) {
        (None, 0) => errors.push(FieldError::required(path, "must specify a peer")),
        (None, _) => {}
        (Some(block), selectors) => {
            errors.extend(ip_block(&path.child("ipBlock"), block, before));
            if selectors > 0 {
                let detail = "may not specify both ipBlock and another peer";
                errors.push(FieldError::forbidden(path, detail));
            }
        }
    }
    errors
}

fn ip_block(path: &Path, block: &Value, before: &[&str]) -> Errors {
    let text = meta::text(block, &["cidr"]);
    if text.is_empty() {
        return vec![FieldError::required(&path.child("cidr"), "")];
    }
    let mut errors = ip::range(&path.child("cidr"), text, before);
    let Ok(whole) = text.parse::<IpNet>() else { return errors };
    for (index, except) in meta::items(block, &["except"]).iter().enumerate() {
        let (path, text) = (path.child("except").index(index), except.as_str().unwrap_or_default());
        errors.extend(ip::range(&path, text, before));
        let Ok(part) = text.parse::<IpNet>() else { continue };
        if !whole.contains(&part.addr()) || whole.prefix_len() >= part.prefix_len() {
            errors.push(FieldError::invalid(&path, text, "must be a strict subset of `cidr`"));
        }
    }
    errors
}

/// All ranges of a policy.
fn ranges(object: &Value) -> Vec<&str> {
    let rules = [("ingress", "from"), ("egress", "to")];
    let peers = rules.into_iter().flat_map(|(rules, peers)| {
        meta::items(object, &["spec", rules]).iter().flat_map(move |rule| meta::items(rule, &[peers]))
    });
    let blocks = peers.filter_map(|peer| meta::at(peer, &["ipBlock"]));
    blocks
        .flat_map(|block| block.get("cidr").into_iter().chain(meta::items(block, &["except"])))
        .filter_map(Value::as_str)
        .collect()
}
