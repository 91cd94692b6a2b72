//! EndpointSlice.
//!
//! Rules: upstream's `pkg/apis/discovery/validation`.

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
use serde_json::Value;

const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;
const ENDPOINTS_MAX: usize = 1_000;

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
            errors.extend(addresses(&Path::new("endpoints").index(index).child("addresses"), endpoint, kind));
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

fn ports(path: &Path, list: &[Value]) -> Errors {
    let mut errors = Errors::new();
    if list.len() > PORTS_MAX {
        errors.push(FieldError::too_many(path, list.len(), PORTS_MAX));
    }
    let mut names = std::collections::BTreeSet::new();
    for (index, port) in list.iter().enumerate() {
        let (path, name) = (path.index(index), meta::text(port, &["name"]));
        if !name.is_empty() {
            errors.extend(invalid(&path.child("name"), name, name_errors(NameRule::Label, name)));
        }
        if !names.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
        errors.extend(one_of(&path, port, "protocol", &["SCTP", "TCP", "UDP"]));
    }
    errors
}
