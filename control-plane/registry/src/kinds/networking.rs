//! ServiceCIDR and IPAddress: the ranges of Service addresses, and the record of each address in use.

use crate::{
    meta,
    strategy::{Call, NameRule, Strategy},
    validate::{Errors, meta::immutable, required},
};
use keelson_schema::{FieldError, Path};
use serde_json::Value;

/// ServiceCIDR.
pub struct ServiceCidr;

impl Strategy for ServiceCidr {
    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        let path = Path::new("spec.cidrs");
        let cidrs = meta::items(object, &["spec", "cidrs"]);
        let mut errors = Errors::new();
        if cidrs.is_empty() {
            errors.push(FieldError::required(&path, "at least one CIDR required"));
        }
        for (index, cidr) in cidrs.iter().enumerate() {
            let cidr = cidr.as_str().unwrap_or_default();
            let detail = match cidr.parse::<ipnet::IpNet>() {
                Ok(ipnet::IpNet::V4(range)) if range.trunc() == range => continue,
                Ok(ipnet::IpNet::V4(_)) => "must be in canonical form (host bits are not zero)",
                Ok(ipnet::IpNet::V6(_)) => "IPv6 Service ranges are not supported yet",
                Err(_) => "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
            };
            errors.push(FieldError::invalid(&path.index(index), cidr, detail));
        }
        errors
    }

    fn validate_update(&self, _call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        let cidrs = |object: &Value| object.pointer("/spec/cidrs").cloned();
        immutable(&Path::new("spec.cidrs"), cidrs(new).as_ref(), cidrs(old).as_ref()).into_iter().collect()
    }
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
