//! status.loadBalancer of a Service.

use super::super::{Errors, ip, meta::invalid, one_of};
use super::needs::kind;
use crate::meta;
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use serde_json::Value;
use std::net::IpAddr;

/// A Service's status.
pub fn status(new: &Value, old: &Value) -> Errors {
    let path = Path::new("status.loadBalancer.ingress");
    let list = |object| meta::items(object, &["status", "loadBalancer", "ingress"]);
    if kind(new) != "LoadBalancer" && !list(new).is_empty() {
        return vec![FieldError::forbidden(&path, "may only be used when `spec.type` is \"LoadBalancer\"")];
    }
    let before: Vec<&str> = list(old).iter().map(|entry| meta::text(entry, &["ip"])).collect();
    let mut errors = Errors::new();
    for (index, entry) in list(new).iter().enumerate() {
        let path = path.index(index);
        let address = meta::text(entry, &["ip"]);
        let mode = meta::at(entry, &["ipMode"]);
        if !address.is_empty() {
            errors.extend(ip::address(&path.child("ip"), address, &before));
        }
        match (address, mode) {
            ("", Some(_)) => {
                let detail = "may not be specified when `ip` is not set";
                errors.push(FieldError::forbidden(&path.child("ipMode"), detail));
            }
            ("", None) => {}
            (_, None) => {
                let detail = "must be specified when `ip` is set";
                errors.push(FieldError::required(&path.child("ipMode"), detail));
            }
            (_, Some(_)) => errors.extend(one_of(&path, entry, "ipMode", &["Proxy", "VIP"])),
        }
        errors.extend(host(&path.child("hostname"), meta::text(entry, &["hostname"])));
    }
    errors
}

/// A DNS name, if it is given.
pub(crate) fn host(path: &Path, name: &str) -> Errors {
    if name.is_empty() {
        return Errors::new();
    }
    let mut errors = invalid(path, name, names::dns1123_subdomain(name));
    if name.parse::<IpAddr>().is_ok() {
        errors.push(FieldError::invalid(path, name, "must be a DNS name, not an IP address"));
    }
    errors
}
