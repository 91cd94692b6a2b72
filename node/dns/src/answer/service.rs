//! The names that a Service and its endpoints have.

use super::{Found, alias, below};
use crate::index::{Endpoint, Index, Key, Port, Service};
use hickory_proto::rr::{Name, RData, RecordType, rdata::SRV};
use std::{collections::BTreeSet, net::IpAddr};

/// Priority and weight: each record stands for one address, all alike.
const PRIORITY: u16 = 0;
const WEIGHT: u16 = 100;

/// `service.namespace.svc`.
pub(super) fn itself(index: &Index, domain: &Name, key: &Key, kind: RecordType) -> Option<Found> {
    if let Service::ExternalName(target) = index.service(key)? {
        return alias(target);
    }
    if kind == RecordType::SRV {
        return srv(index, domain, key, |_| true);
    }
    match index.service(key)? {
        Service::ClusterIp { addresses, .. } => Some(Found::addresses(addresses.iter().copied())),
        _ => existing(ready(index, key).map(|endpoint| endpoint.address)),
    }
}

/// `host.service.namespace.svc`: an endpoint by its hostname, else by its address.
pub(super) fn endpoint(index: &Index, key: &Key, host: &str) -> Option<Found> {
    index.service(key)?;
    existing(ready(index, key).filter(|e| *host_label(e) == *host).map(|e| e.address))
}

/// `_protocol.service.namespace.svc`: has no record, but names below it.
pub(super) fn protocol(index: &Index, key: &Key, label: &str) -> Option<Found> {
    let is_asked = |port: &&Port| !port.name.is_empty() && port.protocol.label() == label;
    let any = match index.service(key)? {
        Service::ClusterIp { ports, .. } => ports.iter().any(|port| is_asked(&port)),
        Service::Headless => index.endpoints(key).flat_map(|set| &set.ports).any(|port| is_asked(&port)),
        Service::ExternalName(_) => false,
    };
    any.then(Found::default)
}

/// `_port._protocol.service.namespace.svc`: SRV records alone.
pub(super) fn port(index: &Index, domain: &Name, key: &Key, name: &str, protocol: &str) -> Option<Found> {
    if name.is_empty() {
        return None;
    }
    srv(index, domain, key, |port| *port.name == *name && port.protocol.label() == protocol)
}

/// An SRV record for each of the ports and, where the Service is headless, for each of its endpoints.
fn srv(index: &Index, domain: &Name, key: &Key, is_asked: impl Fn(&Port) -> bool) -> Option<Found> {
    let record =
        |port: &Port, target: &Name| RData::SRV(SRV::new(PRIORITY, WEIGHT, port.number, target.clone()));
    let mut found = Found::default();
    match index.service(key)? {
        Service::ClusterIp { addresses, ports } => {
            let target = below(service_labels(key), domain)?;
            found.data.extend(ports.iter().filter(|port| is_asked(port)).map(|port| record(port, &target)));
            found.targets.extend(addresses.iter().map(|address| (target.clone(), *address)));
        }
        Service::Headless => {
            for set in index.endpoints(key) {
                let ports: Vec<&Port> = set.ports.iter().filter(|port| is_asked(port)).collect();
                for endpoint in set.endpoints.iter().filter(|_| !ports.is_empty()) {
                    let Some(target) = endpoint_name(key, endpoint, domain) else { continue };
                    found.data.extend(ports.iter().map(|port| record(port, &target)));
                    found.targets.push((target, endpoint.address));
                }
            }
            // A pod with addresses of both families is in two slices under one name.
            let mut seen = BTreeSet::new();
            found.data.retain(|data| seen.insert(data.to_string()));
        }
        Service::ExternalName(_) => {}
    }
    (!found.data.is_empty()).then_some(found)
}

/// The name that an address goes by in a Service: the Service's own; else that of its endpoint, if the Service is headless
/// or the endpoint has a hostname.
pub(super) fn name_at(index: &Index, domain: &Name, key: &Key, address: IpAddr) -> Option<Name> {
    let headless = match index.service(key)? {
        Service::ClusterIp { addresses, .. } if addresses.contains(&address) => {
            return below(service_labels(key), domain);
        }
        service => *service == Service::Headless,
    };
    let is_named = |e: &&Endpoint| e.address == address && (headless || e.hostname.is_some());
    endpoint_name(key, ready(index, key).find(is_named)?, domain)
}

fn ready<'a>(index: &'a Index, key: &Key) -> impl Iterator<Item = &'a Endpoint> {
    index.endpoints(key).flat_map(|set| &set.endpoints)
}

/// A name without any address does not exist (specification, 2.4.1); one with addresses of the other family does.
fn existing(addresses: impl Iterator<Item = IpAddr>) -> Option<Found> {
    let addresses: BTreeSet<IpAddr> = addresses.collect();
    (!addresses.is_empty()).then(|| Found::addresses(addresses))
}

/// An endpoint's own label: its hostname, else its address with dashes.
fn host_label(endpoint: &Endpoint) -> Box<str> {
    match &endpoint.hostname {
        Some(hostname) => hostname.clone(),
        None => endpoint.address.to_string().replace(['.', ':'], "-").into(),
    }
}

fn endpoint_name(key: &Key, endpoint: &Endpoint, domain: &Name) -> Option<Name> {
    let label = host_label(endpoint);
    below(std::iter::once(&*label).chain(service_labels(key)), domain)
}

fn service_labels(key: &Key) -> [&str; 3] {
    [&key.name, &key.namespace, "svc"]
}
