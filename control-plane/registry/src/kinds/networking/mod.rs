//! Kinds of networking.k8s.io. Here ServiceCIDR and IPAddress: the ranges of Service addresses, and the record of each
//! address in use.
//!
//! Rules: upstream's `ValidateServiceCIDR`, `ValidateIPAddress` and their updates.

mod ingress;
mod network_policy;

pub use ingress::{Ingress, IngressClass};
pub use network_policy::NetworkPolicy;

use crate::{
    alloc::Family,
    meta,
    strategy::{Call, NameRule, Strategy},
    validate::{Errors, ip, meta::immutable, required},
};
use ipnet::IpNet;
use keelson_schema::{FieldError, Path};
use serde_json::{Value, json};

/// ServiceCIDR.
pub struct ServiceCidr;

impl Strategy for ServiceCidr {
    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        let path = Path::new("spec.cidrs");
        let cidrs = cidrs(object);
        let mut errors = Errors::new();
        if cidrs.is_empty() {
            errors.push(FieldError::required(&path, "at least one CIDR required"));
        }
        if cidrs.len() > 2 {
            errors.push(FieldError::invalid(&path, json!(cidrs), "may only hold up to 2 values"));
        }
        for (index, cidr) in cidrs.iter().enumerate() {
            errors.extend(ip::range(&path.index(index), cidr, &[]));
        }
        let ranges: Vec<IpNet> = cidrs.iter().filter_map(|cidr| cidr.parse().ok()).collect();
        if let [first, second] = ranges[..]
            && Family::of_range(&first) == Family::of_range(&second)
        {
            let detail =
                "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/96";
            errors.push(FieldError::invalid(&path, json!(cidrs), detail));
        }
        errors
    }

    /// A second family may be added, nothing else changes.
    fn validate_update(&self, call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        let (after, before) = (cidrs(new), cidrs(old));
        if before.len() == 1 && after.len() == 2 && after.first() == before.first() {
            return self.validate(call, new);
        }
        let of = |object: &Value| object.pointer("/spec/cidrs").cloned();
        immutable(&Path::new("spec.cidrs"), of(new).as_ref(), of(old).as_ref()).into_iter().collect()
    }
}

fn cidrs(object: &Value) -> Vec<&str> {
    meta::items(object, &["spec", "cidrs"]).iter().map(|cidr| cidr.as_str().unwrap_or_default()).collect()
}

/// IPAddress.
pub struct IpAddress;

impl Strategy for IpAddress {
    fn name_rule(&self) -> NameRule {
        NameRule::Ip
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        let path = Path::new("spec.parentRef");
        let Some(parent) = meta::at(object, &["spec", "parentRef"]) else {
            return vec![FieldError::required(&path, "")];
        };
        ["resource", "name"].into_iter().filter_map(|key| required(&path, parent, key)).collect()
    }

    fn validate_update(&self, call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        let mut errors = self.validate(call, new);
        errors.extend(immutable(&Path::new("spec"), new.get("spec"), old.get("spec")));
        errors
    }
}
