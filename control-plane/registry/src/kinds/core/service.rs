//! Service: its address and node ports are allocated with it and given back with it.

use crate::{
    alloc::{Allocation, ClusterIpError, NodePortError, NodePorts, Side},
    meta,
    status::{GroupKind, Status},
    strategy::{Call, NameRule, Strategy},
    validate::{Errors, service},
};
use keelson_schema::{FieldError, Path};
use serde_json::{Value, json};
use std::net::IpAddr;

/// Service.
pub struct Service;

const HEADLESS: &str = "None";

impl Strategy for Service {
    fn name_rule(&self) -> NameRule {
        NameRule::Dns1035
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn prepare_create(&self, _call: &Call<'_>, object: &mut Value) {
        meta::map_of(object).insert("status".to_owned(), json!({"loadBalancer": {}}));
        pair_addresses(object);
        set_families(object);
    }

    fn prepare_update(&self, _call: &Call<'_>, new: &mut Value, old: &Value) {
        patch_allocated(new, old);
        follow_single(new, old);
        pair_addresses(new);
        set_families(new);
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        service::service(object)
    }

    fn validate_update(&self, _call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        service::update(new, old)
    }

    fn warnings(&self, _call: &Call<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
        let kind = kind(new);
        let told = old.is_some_and(|old| self::kind(old) == kind);
        if told || !has_node_ports(new) {
            return Vec::new();
        }
        vec![format!("spec.type: {kind}: stored, but node ports and load balancers are not programmed yet")]
    }

    fn allocates(&self) -> bool {
        true
    }

    fn allocate(
        &self,
        allocation: &Allocation<'_>,
        new: Option<&mut Value>,
        old: Option<&Value>,
    ) -> Result<Vec<Side>, Status> {
        let had = old.and_then(address);
        let Some(new) = new else {
            return Ok(had.and_then(|address| allocation.release_cluster_ip(address)).into_iter().collect());
        };
        let mut sides = Vec::new();
        let wanted = address(new);
        let needs = kind(new) != "ExternalName" && cluster_ip(new) != HEADLESS;
        if needs && (wanted != had || wanted.is_none()) {
            let (address, side) =
                allocation.take_cluster_ip(wanted).map_err(|error| no_address(new, &error))?;
            set_address(new, Some(address));
            sides.push(side);
        } else if !needs && let Some(had) = had {
            // At most one address changes hands in a transaction: it is given back, none is taken.
            sides.extend(allocation.release_cluster_ip(had));
        }
        sides.extend(allocate_ports(allocation, new, old)?);
        Ok(sides)
    }
}

fn kind(object: &Value) -> &str {
    meta::text(object, &["spec", "type"])
}

fn cluster_ip(object: &Value) -> &str {
    meta::text(object, &["spec", "clusterIP"])
}

fn address(object: &Value) -> Option<IpAddr> {
    cluster_ip(object).parse().ok()
}

fn spec(object: &mut Value) -> &mut serde_json::Map<String, Value> {
    meta::map_of(meta::map_of(object).entry("spec").or_insert_with(|| json!({})))
}

fn set_address(object: &mut Value, address: Option<IpAddr>) {
    let text = address.map(|address| json!(address.to_string()));
    let list = text.clone().map(|text| json!([text]));
    meta::carry(spec(object), "clusterIP", text.as_ref());
    meta::carry(spec(object), "clusterIPs", list.as_ref());
}

/// clusterIP is the first of clusterIPs, whichever was written.
fn pair_addresses(object: &mut Value) {
    let single = cluster_ip(object).to_owned();
    let first = meta::items(object, &["spec", "clusterIPs"]).first().cloned();
    match first {
        None if !single.is_empty() => {
            spec(object).insert("clusterIPs".to_owned(), json!([single]));
        }
        Some(first) if single.is_empty() => {
            spec(object).insert("clusterIP".to_owned(), first);
        }
        _ => {}
    }
}

/// A client that changes clusterIP alone means the list too (upstream's NormalizeClusterIPs).
fn follow_single(new: &mut Value, old: &Value) {
    let single = cluster_ip(new).to_owned();
    let list = |object: &Value| object.pointer("/spec/clusterIPs").cloned();
    if !single.is_empty() && single != cluster_ip(old) && list(new) == list(old) {
        spec(new).insert("clusterIPs".to_owned(), json!([single]));
    }
}

/// Single-stack IPv4 is what there is; what else was asked for stays, for validation to refuse by name.
fn set_families(object: &mut Value) {
    if kind(object) == "ExternalName" {
        return;
    }
    let spec = spec(object);
    spec.entry("ipFamilyPolicy").or_insert_with(|| json!("SingleStack"));
    spec.entry("ipFamilies").or_insert_with(|| json!(["IPv4"]));
}

/// What an update leaves out of the allocated values is kept from the old state (upstream's patchAllocatedValues), and
/// what a change of type makes meaningless is dropped.
fn patch_allocated(new: &mut Value, old: &Value) {
    let (was, is) = (kind(old) != "ExternalName", kind(new) != "ExternalName");
    if was && is && cluster_ip(new).is_empty() && meta::items(new, &["spec", "clusterIPs"]).is_empty() {
        for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            let before = old.pointer(&format!("/spec/{key}"));
            meta::carry(spec(new), key, before);
        }
    }
    if !is && was && cluster_ip(new) == cluster_ip(old) {
        for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            spec(new).remove(key);
        }
    }
    keep_node_ports(new, old);
}

fn keep_node_ports(new: &mut Value, old: &Value) {
    let keeps = has_node_ports(new);
    let before: Vec<Value> = meta::items(old, &["spec", "ports"]).to_vec();
    let Some(ports) = new.pointer_mut("/spec/ports").and_then(Value::as_array_mut) else { return };
    for port in ports {
        let own = meta::number(port, &["nodePort"]).unwrap_or_default();
        let same = |other: &&Value| {
            other.get("port") == port.get("port") && other.get("protocol") == port.get("protocol")
        };
        let earlier = before.iter().find(same).and_then(|other| meta::number(other, &["nodePort"]));
        if keeps
            && own == 0
            && let Some(earlier) = earlier
        {
            port["nodePort"] = json!(earlier);
        } else if !keeps && own != 0 && earlier == Some(own) {
            meta::map_of(port).remove("nodePort");
        }
    }
}

fn has_node_ports(object: &Value) -> bool {
    match kind(object) {
        "NodePort" => true,
        "LoadBalancer" => object.pointer("/spec/allocateLoadBalancerNodePorts") != Some(&Value::Bool(false)),
        _ => false,
    }
}

fn allocate_ports(
    allocation: &Allocation<'_>,
    new: &mut Value,
    old: Option<&Value>,
) -> Result<Option<Side>, Status> {
    let health = kind(new) == "LoadBalancer"
        && meta::text(new, &["spec", "externalTrafficPolicy"]) == "Local"
        && meta::number(new, &["spec", "healthCheckNodePort"]).unwrap_or_default() == 0;
    let asked =
        meta::items(new, &["spec", "ports"]).iter().any(|port| meta::number(port, &["nodePort"]).is_some());
    if !has_node_ports(new) && !asked && !health {
        return Ok(None);
    }
    let unchanged = old.is_some_and(|old| old.pointer("/spec/ports") == new.pointer("/spec/ports"));
    if unchanged && !health {
        return Ok(None);
    }
    let mut taken = allocation.node_ports();
    let wanted = has_node_ports(new);
    let name = meta::field(new, "name").to_owned();
    let count = meta::items(new, &["spec", "ports"]).len();
    for index in 0..count {
        let Some(port) = new.pointer_mut(&format!("/spec/ports/{index}")) else { continue };
        let own = meta::number(port, &["nodePort"]).filter(|own| *own != 0);
        if own.is_none() && !wanted {
            continue;
        }
        let path = Path::new("spec.ports").index(index).child("nodePort");
        port["nodePort"] = json!(take(&mut taken, own, meta::text(port, &["protocol"]), &path, &name)?);
    }
    if health {
        let path = Path::new("spec.healthCheckNodePort");
        let port = take(&mut taken, None, "TCP", &path, &name)?;
        spec(new).insert("healthCheckNodePort".to_owned(), json!(port));
    }
    Ok(Some(taken.into_side()))
}

fn take(
    taken: &mut NodePorts,
    own: Option<i64>,
    protocol: &str,
    path: &Path,
    name: &str,
) -> Result<u16, Status> {
    taken.take(own, protocol).map_err(|error| match error {
        NodePortError::Full => Status::internal(format!("failed to allocate a nodePort: {error}")),
        NodePortError::OutOfRange | NodePortError::Taken => {
            let error = FieldError::invalid(path, own.unwrap_or_default(), error.to_string());
            Status::invalid(&GroupKind::new("", "Service"), name, vec![error])
        }
    })
}

fn no_address(object: &Value, error: &ClusterIpError) -> Status {
    match error {
        ClusterIpError::Full | ClusterIpError::NoRange => {
            Status::internal(format!("failed to allocate a serviceIP: {error}"))
        }
        ClusterIpError::OutOfRange { .. } | ClusterIpError::Taken => {
            let asked = cluster_ip(object);
            let detail = format!("failed to allocate IP {asked}: {error}");
            let ips = object.pointer("/spec/clusterIPs").cloned().unwrap_or_default();
            let error = FieldError::invalid(&Path::new("spec.clusterIPs"), ips, detail);
            Status::invalid(&GroupKind::new("", "Service"), meta::field(object, "name"), vec![error])
        }
    }
}
