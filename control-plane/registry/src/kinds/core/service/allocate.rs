//! Addresses and node ports of a Service: what a write takes and what it gives back.

use super::{set_ips, spec};
use crate::{
    alloc::{Allocation, ClusterIpError, Family, NodePortError, NodePorts, Side, node_port::ports_of},
    meta,
    status::{GroupKind, Status},
    validate::service::needs,
};
use keelson_schema::{FieldError, Path};
use serde_json::{Value, json};
use std::{collections::BTreeMap, net::IpAddr};

/// The addresses that a Service holds.
fn held(object: &Value) -> Vec<IpAddr> {
    if !needs::is_internal(object) {
        return Vec::new();
    }
    needs::ips(object).into_iter().filter_map(|ip| ip.parse().ok()).collect()
}

/// Gives back what a Service that goes held.
pub(super) fn release(allocation: &Allocation<'_>, old: &Value) -> Vec<Side> {
    held(old).into_iter().filter_map(|address| allocation.release_cluster_ip(address)).collect()
}

/// One address for each family, and what is no longer wanted given back.
pub(super) fn addresses(
    allocation: &Allocation<'_>,
    new: &mut Value,
    old: Option<&Value>,
) -> Result<Vec<Side>, Status> {
    let had = old.map(held).unwrap_or_default();
    let mut sides = Vec::new();
    if needs::is_internal(new) && !needs::is_headless(new) {
        let mut ips: Vec<String> = needs::ips(new).into_iter().map(str::to_owned).collect();
        let families: Vec<Family> = needs::families(new).into_iter().filter_map(Family::parse).collect();
        for (index, family) in families.into_iter().enumerate() {
            let asked: Option<IpAddr> = ips.get(index).and_then(|ip| ip.parse().ok());
            if asked.is_some_and(|asked| had.contains(&asked)) {
                continue;
            }
            let (address, side) =
                allocation.take_cluster_ip(family, asked).map_err(|error| no_address(new, asked, &error))?;
            sides.push(side);
            if index < ips.len() {
                ips[index] = address.to_string();
            } else {
                ips.push(address.to_string());
            }
        }
        set_ips(new, &ips);
    }
    let has = held(new);
    let given_back = had.into_iter().filter(|address| !has.contains(address));
    sides.extend(given_back.filter_map(|address| allocation.release_cluster_ip(address)));
    Ok(sides)
}

fn no_address(object: &Value, asked: Option<IpAddr>, error: &ClusterIpError) -> Status {
    match (error, asked) {
        (ClusterIpError::Full, _) | (_, None) => {
            Status::internal(format!("failed to allocate a serviceIP: {error}"))
        }
        (_, Some(asked)) => {
            let detail = format!("failed to allocate IP {asked}: {error}");
            let ips = object.pointer("/spec/clusterIPs").cloned().unwrap_or_default();
            let error = FieldError::invalid(&Path::new("spec.clusterIPs"), ips, detail);
            Status::invalid(&GroupKind::new("", "Service"), meta::field(object, "name"), vec![error])
        }
    }
}

/// One number that is to be taken.
struct Wanted {
    /// Index of the port; None for the health check.
    index: Option<usize>,
    /// 0: any.
    number: i64,
    /// spec.ports[].port.
    port: i64,
}

/// Node ports and that of the health check. What is given back needs no write: it follows from the Service.
pub(super) fn ports(
    allocation: &Allocation<'_>,
    new: &mut Value,
    old: Option<&Value>,
) -> Result<Option<Side>, Status> {
    let kept = old.map(ports_of).unwrap_or_default();
    let wanted: Vec<Wanted> = wanted(new)
        .into_iter()
        .filter(|wanted| u16::try_from(wanted.number).map_or(true, |number| !kept.contains(&number)))
        .collect();
    if wanted.is_empty() {
        return Ok(None);
    }
    let mut ports = allocation.node_ports();
    ports_of(new).intersection(&kept).for_each(|number| ports.keep(*number));
    // One port of a new Service has one number for all its protocols, that which some of them asks for.
    let mut shared: BTreeMap<i64, u16> = BTreeMap::new();
    let asked: BTreeMap<i64, i64> = wanted
        .iter()
        .filter(|wanted| wanted.number != 0 && wanted.index.is_some())
        .map(|wanted| (wanted.port, wanted.number))
        .rev()
        .collect();
    let name = meta::field(new, "name").to_owned();
    for Wanted { index, number, port } in wanted {
        let share = old.is_none() && index.is_some();
        let number = match (number, shared.get(&port)) {
            (0, Some(number)) if share => *number,
            (0, None) if share && asked.contains_key(&port) => take(&mut ports, asked[&port], index, &name)?,
            (number, _) => take(&mut ports, number, index, &name)?,
        };
        match index {
            Some(index) => {
                shared.entry(port).or_insert(number);
                new["spec"]["ports"][index]["nodePort"] = json!(number);
            }
            None => {
                spec(new).insert("healthCheckNodePort".to_owned(), json!(number));
            }
        }
    }
    Ok(Some(ports.into_side()))
}

fn wanted(object: &Value) -> Vec<Wanted> {
    let mut all = Vec::new();
    if !needs::may_have_node_ports(object) {
        return all;
    }
    for (index, port) in meta::items(object, &["spec", "ports"]).iter().enumerate() {
        let number = meta::number(port, &["nodePort"]).unwrap_or_default();
        if number != 0 || needs::needs_node_ports(object) {
            let port = meta::number(port, &["port"]).unwrap_or_default();
            all.push(Wanted { index: Some(index), number, port });
        }
    }
    if needs::needs_health_port(object) {
        all.push(Wanted { index: None, number: needs::health_port(object), port: 0 });
    }
    all
}

fn take(ports: &mut NodePorts, number: i64, index: Option<usize>, name: &str) -> Result<u16, Status> {
    let taken = match number {
        0 => ports.take_any(),
        number if index.is_none() => ports.take_alone(number),
        number => ports.take(number),
    };
    taken.map_err(|error| match (index, &error) {
        (Some(index), NodePortError::OutOfRange(_) | NodePortError::Taken) => {
            let path = Path::new("spec.ports").index(index).child("nodePort");
            let error = FieldError::invalid(&path, number, error.to_string());
            Status::invalid(&GroupKind::new("", "Service"), name, vec![error])
        }
        (Some(_), NodePortError::Full) => Status::internal(format!("failed to allocate a nodePort: {error}")),
        (None, _) if number != 0 => {
            Status::internal(format!("failed to allocate requested HealthCheck NodePort {number}: {error}"))
        }
        (None, _) => Status::internal(format!("failed to allocate a HealthCheck NodePort: {error}")),
    })
}
