//! ipFamilies, completed from the families that the cluster has.
//!
//! Rules: upstream's `initIPFamilyFields`.

use super::{fields, spec};
use crate::{
    alloc::Family,
    meta,
    status::{GroupKind, Status},
    validate::service::needs::{self, HEADLESS},
};
use keelson_schema::{FieldError, Path};
use serde_json::{Value, json};
use std::net::IpAddr;

/// `configured`: the cluster's, the default first.
pub(super) fn complete(object: &mut Value, old: Option<&Value>, configured: &[Family]) -> Result<(), Status> {
    if needs::kind(object) == "ExternalName" || old.is_some_and(|old| is_settled(object, old)) {
        return Ok(());
    }
    let mut errors = unknown_addresses(object, configured);
    if errors.is_empty() {
        fields::infer_families(object);
    }
    let default = configured.first().copied().unwrap_or(Family::V4);
    let is_list = needs::single_ip(object) == HEADLESS && !needs::has_selector(object);
    if !is_list {
        errors.extend(unknown_families(object, configured));
    }
    if !errors.is_empty() {
        let name = meta::field(object, "name");
        return Err(Status::invalid(&GroupKind::new("", "Service"), name, errors));
    }
    let mut families: Vec<Family> = needs::families(object).into_iter().filter_map(Family::parse).collect();
    if families.is_empty() {
        families.push(default);
    }
    // Endpoints that somebody else lists can be of a family that the cluster's Services have not.
    let can_be_two = is_list || configured.len() == 2;
    if needs::family_policy(object) != "SingleStack" && families.len() == 1 && can_be_two {
        families.push(families[0].other());
    }
    let families: Vec<&str> = families.into_iter().map(Family::as_str).collect();
    spec(object).insert("ipFamilies".to_owned(), json!(families));
    Ok(())
}

/// A Service that prefers two families does not change by itself when the cluster gets or loses one.
fn is_settled(new: &Value, old: &Value) -> bool {
    let prefers = |object| needs::family_policy(object) == "PreferDualStack";
    needs::kind(new) == needs::kind(old)
        && prefers(new)
        && prefers(old)
        && needs::ips(new) == needs::ips(old)
        && needs::families(new) == needs::families(old)
}

/// Addresses beyond the families given that are of a family which the cluster has not.
fn unknown_addresses(object: &Value, configured: &[Family]) -> Vec<FieldError> {
    let ips = needs::ips(object);
    let known = needs::families(object).len();
    let mut errors = Vec::new();
    for (index, ip) in ips.iter().enumerate().skip(known) {
        let Ok(address) = ip.parse::<IpAddr>() else { break };
        let family = Family::of(address);
        if !configured.contains(&family) {
            let path = Path::new("spec.clusterIPs").index(index);
            let detail = format!("{} is not configured on this cluster", family.as_str());
            errors.push(FieldError::invalid(&path, json!(ips), detail));
        }
    }
    errors
}

fn unknown_families(object: &Value, configured: &[Family]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if needs::family_policy(object) == "RequireDualStack" && configured.len() < 2 {
        let detail = "this cluster is not configured for dual-stack services";
        errors.push(FieldError::invalid(&Path::new("spec.ipFamilyPolicy"), "RequireDualStack", detail));
    }
    for (index, text) in needs::families(object).into_iter().enumerate() {
        if Family::parse(text).is_none_or(|family| !configured.contains(&family)) {
            let path = Path::new("spec.ipFamilies").index(index);
            errors.push(FieldError::invalid(&path, text, "not configured on this cluster"));
        }
    }
    errors
}
