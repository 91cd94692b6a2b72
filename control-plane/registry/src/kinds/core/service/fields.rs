//! What a client meant: fields that go in pairs, allocated values that an update leaves out, and those that a change of
//! type makes meaningless.
//!
//! Rules: upstream's `normalizeClusterIPs`, `patchAllocatedValues` and `dropTypeDependentFields`.

use super::{set_ips, spec};
use crate::{
    alloc::Family,
    meta,
    validate::service::needs::{self, HEADLESS},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// A client that knows clusterIP alone means the list too.
pub(super) fn create(object: &mut Value) {
    let single = needs::single_ip(object).to_owned();
    if !single.is_empty() && needs::ips(object).is_empty() {
        spec(object).insert("clusterIPs".to_owned(), json!([single]));
    }
    set_policy(object, None);
}

pub(super) fn update(new: &mut Value, old: &Value) {
    if needs::is_internal(old) && needs::is_internal(new) {
        keep_addresses(new, old);
    }
    if needs::needs_node_ports(old) && needs::needs_node_ports(new) {
        keep_node_ports(new, old);
    }
    let both_check = needs::needs_health_port(old) && needs::needs_health_port(new);
    if both_check && needs::health_port(new) == 0 && needs::health_port(old) != 0 {
        spec(new).insert("healthCheckNodePort".to_owned(), json!(needs::health_port(old)));
    }
    follow_single(new, old);
    drop_addresses(new, old);
    drop_of_type(new, old);
    if needs::kind(new) != "ExternalName" {
        set_policy(new, Some(old));
        become_single(new, old);
        infer_families(new);
    }
}

fn keep_addresses(new: &mut Value, old: &Value) {
    if needs::single_ip(new).is_empty() {
        let before = old.pointer("/spec/clusterIP");
        meta::carry(spec(new), "clusterIP", before);
    }
    if needs::ips(new).is_empty() && needs::single_ip(new) == needs::single_ip(old) {
        let before = old.pointer("/spec/clusterIPs");
        meta::carry(spec(new), "clusterIPs", before);
    }
}

/// By the name of the port; whatever else of it changed.
fn keep_node_ports(new: &mut Value, old: &Value) {
    let numbers = |object: &Value| -> BTreeSet<i64> { node_ports(object).collect() };
    let mut used: BTreeSet<i64> = numbers(old).intersection(&numbers(new)).copied().collect();
    let named = meta::items(old, &["spec", "ports"]).iter().filter_map(|port| {
        Some((meta::text(port, &["name"]), meta::number(port, &["nodePort"]).filter(|number| *number != 0)?))
    });
    let named: BTreeMap<&str, i64> = named.collect();
    let Some(ports) = new.pointer_mut("/spec/ports").and_then(Value::as_array_mut) else { return };
    for port in ports {
        if meta::number(port, &["nodePort"]).unwrap_or_default() != 0 {
            continue;
        }
        if let Some(earlier) = named.get(meta::text(port, &["name"]))
            && used.insert(*earlier)
        {
            port["nodePort"] = json!(earlier);
        }
    }
}

fn node_ports(object: &Value) -> impl Iterator<Item = i64> {
    let ports = meta::items(object, &["spec", "ports"]).iter();
    ports.filter_map(|port| meta::number(port, &["nodePort"])).filter(|number| *number != 0)
}

/// The list follows a clusterIP that was changed or cleared alone.
fn follow_single(new: &mut Value, old: &Value) {
    let single = needs::single_ip(new).to_owned();
    if single == needs::single_ip(old) || needs::ips(new) != needs::ips(old) {
        return;
    }
    if single.is_empty() {
        spec(new).remove("clusterIPs");
    } else {
        spec(new).insert("clusterIPs".to_owned(), json!([single]));
    }
}

/// An ExternalName has no addresses. What was changed as well stays, for validation to refuse.
fn drop_addresses(new: &mut Value, old: &Value) {
    if !needs::is_internal(old) || needs::is_internal(new) {
        return;
    }
    if needs::ips(new) == needs::ips(old) && needs::single_ip(new) == needs::single_ip(old) {
        set_ips(new, &[]);
    }
    for key in ["ipFamilies", "ipFamilyPolicy"] {
        drop_if_same(new, old, key);
    }
}

fn drop_of_type(new: &mut Value, old: &Value) {
    let only_old_ports = || {
        let before: BTreeSet<i64> = node_ports(old).collect();
        node_ports(new).all(|number| before.contains(&number))
    };
    if needs::needs_node_ports(old) && !needs::needs_node_ports(new) && only_old_ports() {
        let ports = new.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten() {
            meta::map_of(port).remove("nodePort");
        }
    }
    if needs::needs_health_port(old) && !needs::needs_health_port(new) {
        drop_if_same(new, old, "healthCheckNodePort");
    }
    let balanced = |object: &Value| needs::kind(object) == "LoadBalancer";
    if balanced(old) && !balanced(new) {
        drop_if_same(new, old, "allocateLoadBalancerNodePorts");
        drop_if_same(new, old, "loadBalancerClass");
    }
    if needs::is_external(old) && !needs::is_external(new) {
        drop_if_same(new, old, "externalTrafficPolicy");
    }
    if !balanced(new) && meta::at(new, &["status", "loadBalancer", "ingress"]).is_some() {
        // What the load balancer still does is its controller's business, not the reader's.
        new["status"]["loadBalancer"] = json!({});
    }
}

fn drop_if_same(new: &mut Value, old: &Value, key: &str) {
    if meta::at(new, &["spec", key]) == meta::at(old, &["spec", key]) {
        spec(new).remove(key);
    }
}

/// A Service never changes between one and two families without being told so: an update keeps the policy, a new
/// Service has one family, unless it is only a list of endpoints, which may be of any.
fn set_policy(new: &mut Value, old: Option<&Value>) {
    if needs::kind(new) == "ExternalName" || !needs::family_policy(new).is_empty() {
        return;
    }
    let before = old.map(needs::family_policy).unwrap_or_default();
    let policy = match before {
        "" if needs::single_ip(new) == HEADLESS && !needs::has_selector(new) => "RequireDualStack",
        "" => "SingleStack",
        before => before,
    };
    spec(new).insert("ipFamilyPolicy".to_owned(), json!(policy));
}

/// Asking for one family is asking to give up the second, if the lists were left as they were.
fn become_single(new: &mut Value, old: &Value) {
    if needs::family_policy(new) != "SingleStack" {
        return;
    }
    for key in ["clusterIPs", "ipFamilies"] {
        let same = meta::items(new, &["spec", key]) == meta::items(old, &["spec", key]);
        if let Some(list) = new.pointer_mut(&format!("/spec/{key}")).and_then(Value::as_array_mut)
            && same
        {
            list.truncate(1);
        }
    }
}

/// Families follow from the addresses that have none. Whether the cluster has them is told later.
pub(super) fn infer_families(object: &mut Value) {
    let mut families: Vec<String> = needs::families(object).into_iter().map(str::to_owned).collect();
    let known = families.len();
    for ip in needs::ips(object).into_iter().skip(known) {
        let Ok(address) = ip.parse::<IpAddr>() else { break };
        families.push(Family::of(address).as_str().to_owned());
    }
    if families.len() > known {
        spec(object).insert("ipFamilies".to_owned(), json!(families));
    }
}
