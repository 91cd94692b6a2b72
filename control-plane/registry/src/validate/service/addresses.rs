//! clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy, as far as they can be judged without the cluster's ranges.

use super::super::{Errors, ip, one_of};
use super::needs::{self, HEADLESS, is_headless};
use keelson_schema::{FieldError, Path};
use serde_json::Value;
use serde_json::json;
use std::net::IpAddr;

pub(super) fn addresses(path: &Path, object: &Value, old: Option<&Value>) -> Errors {
    if needs::kind(object) == "ExternalName" {
        return Errors::new();
    }
    let (ips, single) = (needs::ips(object), needs::single_ip(object));
    let mut errors = pairing(&path.child("clusterIPs"), &ips, single);
    errors.extend(families(path, object));
    let path = path.child("clusterIPs");
    let before = old.map(needs::ips).unwrap_or_default();
    let mut malformed = Errors::new();
    for (index, text) in ips.iter().enumerate() {
        if index == 0 && *text == HEADLESS {
            if ips.len() > 1 {
                let detail = "'None' must be the first and only value";
                malformed.push(FieldError::invalid(&path, json!(ips), detail));
            }
            continue;
        }
        malformed.extend(ip::address(&path.index(index), text, &before));
    }
    if ips.len() > 2 {
        errors.push(FieldError::invalid(&path, json!(ips), "may only hold up to 2 values"));
    }
    // What is no address would only skew the rest.
    if malformed.is_empty() {
        errors.extend(stacks(&path, object, &ips));
    }
    errors.extend(malformed);
    errors
}

fn pairing(path: &Path, ips: &[&str], single: &str) -> Errors {
    let mut errors = Errors::new();
    match (single, ips.first()) {
        ("", Some(_)) => {
            let detail = "must be empty when `clusterIP` is not specified";
            errors.push(FieldError::invalid(path, json!(ips), detail));
        }
        ("", None) => {}
        (_, None) => errors.push(FieldError::required(path, "")),
        (single, Some(first)) if single != *first => {
            errors.push(FieldError::invalid(path, json!(ips), "first value must match `clusterIP`"));
        }
        _ => {}
    }
    errors
}

fn families(path: &Path, object: &Value) -> Errors {
    let mut errors = Errors::new();
    let families = needs::families(object);
    for (index, family) in families.iter().enumerate() {
        let path = path.child("ipFamilies").index(index);
        if !["IPv4", "IPv6"].contains(family) {
            errors.push(FieldError::not_supported(&path, *family, &["IPv4", "IPv6"]));
        }
        if families[..index].contains(family) {
            errors.push(FieldError::duplicate(&path, *family));
        }
    }
    let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    errors.extend(one_of(path, &object["spec"], "ipFamilyPolicy", &policies));
    errors
}

/// One address a family, in the order of the families.
fn stacks(path: &Path, object: &Value, ips: &[&str]) -> Errors {
    let mut errors = Errors::new();
    let is_v6: Vec<bool> = ips.iter().map(|ip| matches!(ip.parse(), Ok(IpAddr::V6(_)))).collect();
    if ips.len() > 1 && (is_v6.iter().all(|v6| *v6) || is_v6.iter().all(|v6| !v6)) {
        let detail = "may specify no more than one IP for each IP family";
        errors.push(FieldError::invalid(path, json!(ips), detail));
    }
    if is_headless(object) {
        return errors;
    }
    for (index, family) in needs::families(object).iter().enumerate().take(ips.len()) {
        if matches!(*family, "IPv4" | "IPv6") && is_v6[index] != (*family == "IPv6") {
            let detail = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            errors.push(FieldError::invalid(&path.index(index), ips[index], detail));
        }
    }
    errors
}

/// A Service that is single-stack has one of each. That the second ones of a Service which becomes single-stack go by
/// themselves was done before.
pub(super) fn policy(path: &Path, object: &Value) -> Errors {
    let mut errors = Errors::new();
    if needs::family_policy(object) != "SingleStack" {
        return errors;
    }
    let counts = [(needs::ips(object).len(), "cluster IPs"), (needs::families(object).len(), "IP families")];
    for (count, what) in counts {
        if count == 2 {
            let detail =
                format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified");
            errors.push(FieldError::invalid(&path.child("ipFamilyPolicy"), "SingleStack", detail));
        }
    }
    errors
}
