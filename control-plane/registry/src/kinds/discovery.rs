//! EndpointSlice.
//!
//! Rules: upstream's `pkg/apis/discovery/validation`, less that loopback and other special addresses are refused: an API
//! server that is reached on loopback alone names that address in its own slice.

use crate::{
    meta,
    strategy::{Call, NameRule, Strategy},
    validate::{
        Errors,
        meta::{immutable, invalid, name_errors},
        one_of,
    },
};
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use serde_json::Value;
use std::collections::BTreeSet;

const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;
const ENDPOINTS_MAX: usize = 1_000;
/// Zones, and also nodes, that one endpoint is hinted at.
const HINTS_MAX: usize = 8;

/// EndpointSlice.
pub struct EndpointSlice;

impl Strategy for EndpointSlice {
    fn has_generation(&self) -> bool {
        true
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        let kind = meta::text(object, &["addressType"]);
        let mut errors = Errors::new();
        if kind.is_empty() {
            errors.push(FieldError::required(&Path::new("addressType"), ""));
        } else {
            errors.extend(one_of(&Path::root(), object, "addressType", &["FQDN", "IPv4", "IPv6"]));
        }
        let endpoints = meta::items(object, &["endpoints"]);
        if endpoints.len() > ENDPOINTS_MAX {
            errors.push(FieldError::too_many(&Path::new("endpoints"), endpoints.len(), ENDPOINTS_MAX));
        }
        for (index, endpoint) in endpoints.iter().enumerate() {
            let path = Path::new("endpoints").index(index);
            errors.extend(addresses(&path.child("addresses"), endpoint, kind));
            errors.extend(place(&path, endpoint));
            errors.extend(hints(&path.child("hints"), endpoint));
        }
        errors.extend(ports(&Path::new("ports"), meta::items(object, &["ports"])));
        errors
    }

    fn validate_update(&self, call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        let mut errors = self.validate(call, new);
        errors.extend(immutable(&Path::new("addressType"), new.get("addressType"), old.get("addressType")));
        errors
    }
}

fn addresses(path: &Path, endpoint: &Value, kind: &str) -> Errors {
    let list = meta::items(endpoint, &["addresses"]);
    let mut errors = Errors::new();
    if list.is_empty() {
        errors.push(FieldError::required(path, "must contain at least 1 address"));
    } else if list.len() > ADDRESSES_MAX {
        errors.push(FieldError::too_many(path, list.len(), ADDRESSES_MAX));
    }
    for (index, address) in list.iter().enumerate() {
        let (path, address) = (path.index(index), address.as_str().unwrap_or_default());
        let details = match kind {
            "FQDN" => name_errors(NameRule::Subdomain, address),
            "IPv4" if address.parse::<std::net::Ipv4Addr>().is_err() => {
                vec!["must be a valid IPv4 address".to_owned()]
            }
            "IPv6" if address.parse::<std::net::Ipv6Addr>().is_err() => {
                vec!["must be a valid IPv6 address".to_owned()]
            }
            _ => Vec::new(),
        };
        errors.extend(invalid(&path, address, details));
    }
    errors
}

/// The endpoint's node and its name in DNS.
fn place(path: &Path, endpoint: &Value) -> Errors {
    let text = |key: &str| meta::at(endpoint, &[key]).and_then(Value::as_str);
    let mut errors = Errors::new();
    if let Some(node) = text("nodeName") {
        errors.extend(invalid(&path.child("nodeName"), node, names::dns1123_subdomain(node)));
    }
    if let Some(host) = text("hostname") {
        errors.extend(invalid(&path.child("hostname"), host, names::dns1123_label(host)));
    }
    errors
}

fn hints(path: &Path, endpoint: &Value) -> Errors {
    let mut errors = Errors::new();
    type Rule = fn(&str) -> Vec<String>;
    let lists: [(&str, Rule); 2] = [("forZones", names::label_value), ("forNodes", names::dns1123_subdomain)];
    for (key, rule) in lists {
        let (path, list) = (path.child(key), meta::items(endpoint, &["hints", key]));
        if list.len() > HINTS_MAX {
            errors.push(FieldError::too_many(&path, list.len(), HINTS_MAX));
            continue;
        }
        let mut seen = BTreeSet::new();
        for (index, hint) in list.iter().enumerate() {
            let (path, name) = (path.index(index).child("name"), meta::text(hint, &["name"]));
            if name.is_empty() {
                errors.push(FieldError::required(&path, ""));
            } else if !seen.insert(name) {
                errors.push(FieldError::duplicate(&path, name));
            } else {
                errors.extend(invalid(&path, name, rule(name)));
            }
        }
    }
    errors
}

fn ports(path: &Path, list: &[Value]) -> Errors {
    let mut errors = Errors::new();
    if list.len() > PORTS_MAX {
        errors.push(FieldError::too_many(path, list.len(), PORTS_MAX));
    }
    let mut seen = BTreeSet::new();
    for (index, port) in list.iter().enumerate() {
        let (path, name) = (path.index(index), meta::text(port, &["name"]));
        if !name.is_empty() {
            errors.extend(invalid(&path.child("name"), name, name_errors(NameRule::Label, name)));
        }
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
        errors.extend(one_of(&path, port, "protocol", &["SCTP", "TCP", "UDP"]));
        if let Some(protocol) = meta::at(port, &["appProtocol"]).and_then(Value::as_str) {
            errors.extend(invalid(&path.child("appProtocol"), protocol, names::qualified_name(protocol)));
        }
    }
    errors
}
