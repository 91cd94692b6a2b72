//! What a query is answered with, as the Kubernetes DNS specification 1.1.0 has it: pure, over the index.
//!
//! Where the specification is silent, as the server that most clusters run: a headless Service without ready endpoints
//! does not exist (NXDOMAIN), a namespace without Services neither; `pods insecure` (a pod record exists for any address).

use crate::index::{Endpoint, Index, Port, Service, ServiceKey};
use hickory_proto::{
    op::ResponseCode,
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, CNAME, PTR, SOA, SRV, TXT},
    },
};
use std::net::Ipv4Addr;

/// Seconds that a client may keep an answer: endpoints come and go.
const TTL_S: u32 = 5;

/// The specification's version, as `dns-version` tells it.
const SCHEMA_VERSION: &str = "1.1.0";

/// What to answer.
#[derive(Debug, PartialEq)]
pub struct Answer {
    /// NoError, NXDomain, or Refused for a name that is not ours.
    pub code: ResponseCode,
    /// The answer section.
    pub records: Vec<Record>,
    /// The zone's SOA, which goes with an answer that is empty, so that it is kept for its TTL only.
    pub soa: Option<Record>,
}

/// What the records of a name are, before anyone asks for a type.
enum Found {
    Records(Vec<RData>),
    Nothing,
}

/// Answers one question. `domain` is the cluster domain, `name` what is asked for.
pub fn answer(index: &Index, domain: &Name, name: &Name, kind: RecordType) -> Answer {
    let reverse = Name::from_labels(["in-addr", "arpa"]).map(|zone| (zone.zone_of(name), zone));
    let (zone, found) = match reverse {
        _ if domain.zone_of(name) => (domain.clone(), forward(index, domain, name)),
        Ok((true, zone)) => (zone, backward(index, domain, name)),
        _ => return Answer { code: ResponseCode::Refused, records: vec![], soa: None },
    };
    let Found::Records(data) = found else {
        return Answer { code: ResponseCode::NXDomain, records: vec![], soa: Some(soa(&zone)) };
    };
    let wanted = |data: &RData| {
        kind == RecordType::ANY || data.record_type() == kind || matches!(data, RData::CNAME(_))
    };
    let records: Vec<Record> =
        data.into_iter().filter(wanted).map(|data| Record::from_rdata(name.clone(), TTL_S, data)).collect();
    let soa = records.is_empty().then(|| soa(&zone));
    Answer { code: ResponseCode::NoError, records, soa }
}

/// Names below the cluster domain.
fn forward(index: &Index, domain: &Name, name: &Name) -> Found {
    let depth = name.iter().count() - domain.iter().count();
    let labels: Vec<String> =
        name.iter().take(depth).map(|l| String::from_utf8_lossy(l).to_lowercase()).collect();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    match labels.as_slice() {
        [] | ["svc"] | ["pod"] => Found::Records(vec![]),
        ["dns-version"] => Found::Records(vec![RData::TXT(TXT::new(vec![SCHEMA_VERSION.into()]))]),
        [namespace, "svc" | "pod"] if index.has_namespace(namespace) => Found::Records(vec![]),
        [address, _, "pod"] => pod(address),
        [service, namespace, "svc"] => of_service(index, &key(namespace, service)),
        [host, service, namespace, "svc"] if !host.starts_with('_') => {
            of_endpoint(index, &key(namespace, service), host)
        }
        [port, protocol, service, namespace, "svc"] => {
            of_port(index, domain, &key(namespace, service), port, protocol)
        }
        _ => Found::Nothing,
    }
}

fn key(namespace: &str, name: &str) -> ServiceKey {
    ServiceKey { namespace: namespace.into(), name: name.into() }
}

fn pod(dashed: &str) -> Found {
    match dashed.replace('-', ".").parse() {
        Ok(address) => Found::Records(vec![a(address)]),
        Err(_) => Found::Nothing,
    }
}

fn of_service(index: &Index, key: &ServiceKey) -> Found {
    match index.service(key) {
        None => Found::Nothing,
        Some(Service::ClusterIp { address, .. }) => Found::Records(vec![a(*address)]),
        Some(Service::ExternalName(target)) => match Name::from_utf8(target) {
            Ok(target) => Found::Records(vec![RData::CNAME(CNAME(target))]),
            Err(_) => Found::Nothing,
        },
        Some(Service::Headless) => {
            let mut addresses: Vec<Ipv4Addr> = ready(index, key).map(|endpoint| endpoint.address).collect();
            addresses.sort_unstable();
            addresses.dedup();
            if addresses.is_empty() {
                Found::Nothing
            } else {
                Found::Records(addresses.into_iter().map(a).collect())
            }
        }
    }
}

fn ready<'a>(index: &'a Index, key: &ServiceKey) -> impl Iterator<Item = &'a Endpoint> {
    index.endpoints(key).flat_map(|set| &set.endpoints)
}

/// An endpoint's own label: its hostname, else its address with dashes.
fn host_label(endpoint: &Endpoint) -> String {
    endpoint.hostname.clone().unwrap_or_else(|| endpoint.address.to_string().replace('.', "-"))
}

fn of_endpoint(index: &Index, key: &ServiceKey, host: &str) -> Found {
    if index.service(key) != Some(&Service::Headless) {
        return Found::Nothing;
    }
    let found: Vec<RData> =
        ready(index, key).filter(|e| host_label(e) == host).map(|e| a(e.address)).collect();
    if found.is_empty() { Found::Nothing } else { Found::Records(found) }
}

/// `_port._protocol.service.namespace.svc`.
fn of_port(index: &Index, domain: &Name, key: &ServiceKey, port: &str, protocol: &str) -> Found {
    let (Some(port), Some(protocol)) = (port.strip_prefix('_'), protocol.strip_prefix('_')) else {
        return Found::Nothing;
    };
    let is_asked = |p: &&Port| p.name == port && p.protocol == protocol;
    let service = service_labels(key);
    let records: Vec<RData> = match index.service(key) {
        Some(Service::ClusterIp { ports, .. }) => {
            ports.iter().filter(is_asked).filter_map(|p| srv(p.port, &service, domain)).collect()
        }
        Some(Service::Headless) => index
            .endpoints(key)
            .flat_map(|set| {
                set.ports
                    .iter()
                    .filter(is_asked)
                    .flat_map(|port| set.endpoints.iter().map(move |e| (port, e)))
            })
            .filter_map(|(port, endpoint)| {
                srv(port.port, &[vec![host_label(endpoint)], service.clone()].concat(), domain)
            })
            .collect(),
        _ => vec![],
    };
    if records.is_empty() { Found::Nothing } else { Found::Records(records) }
}

/// Reverse lookups: `d.c.b.a.in-addr.arpa`.
fn backward(index: &Index, domain: &Name, name: &Name) -> Found {
    let labels: Vec<String> = name.iter().map(|label| String::from_utf8_lossy(label).into_owned()).collect();
    let [d, c, b, a, _, _] = labels.as_slice() else { return Found::Nothing };
    let Ok(address) = format!("{a}.{b}.{c}.{d}").parse() else { return Found::Nothing };
    let names = index.services_at(address).filter_map(|key| reverse_labels(index, key, address));
    let names: Vec<RData> =
        names.filter_map(|labels| Some(RData::PTR(PTR(below(&labels, domain)?)))).collect();
    if names.is_empty() { Found::Nothing } else { Found::Records(names) }
}

/// The labels that an address goes by in a Service; an endpoint has a name only in a headless one.
fn reverse_labels(index: &Index, key: &ServiceKey, address: Ipv4Addr) -> Option<Vec<String>> {
    match index.service(key)? {
        Service::ClusterIp { address: own, .. } => (*own == address).then(|| service_labels(key)),
        Service::Headless => {
            let endpoint = ready(index, key).find(|endpoint| endpoint.address == address)?;
            Some([vec![host_label(endpoint)], service_labels(key)].concat())
        }
        Service::ExternalName(_) => None,
    }
}

fn service_labels(key: &ServiceKey) -> Vec<String> {
    vec![key.name.clone(), key.namespace.clone(), "svc".into()]
}

fn below(labels: &[String], domain: &Name) -> Option<Name> {
    Name::from_labels(labels.iter().map(String::as_bytes)).ok()?.append_domain(domain).ok()
}

fn a(address: Ipv4Addr) -> RData {
    RData::A(A(address))
}

/// Priority 0; the weight shares equally, since each record stands for one address.
fn srv(port: u16, target: &[String], domain: &Name) -> Option<RData> {
    Some(RData::SRV(SRV::new(0, 100, port, below(target, domain)?)))
}

fn soa(zone: &Name) -> Record {
    let server = Name::from_labels(["ns", "dns"])
        .and_then(|ns| ns.append_domain(zone))
        .unwrap_or_else(|_| zone.clone());
    let ttl = TTL_S as i32;
    Record::from_rdata(
        zone.clone(),
        TTL_S,
        RData::SOA(SOA::new(server, zone.clone(), 1, 7200, 1800, 86400, ttl as u32)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::EndpointSet;

    fn index() -> Index {
        let mut index = Index::default();
        let http = Port { name: "http".into(), protocol: "tcp".into(), port: 80 };
        index.put_service(
            key("default", "web"),
            Service::ClusterIp { address: Ipv4Addr::new(10, 96, 0, 7), ports: vec![http.clone()] },
        );
        index.put_service(key("default", "db"), Service::Headless);
        index.put_service(key("default", "empty"), Service::Headless);
        index.put_service(key("default", "alias"), Service::ExternalName("example.com.".into()));
        let endpoint = |last, hostname: Option<&str>| Endpoint {
            address: Ipv4Addr::new(10, 244, 1, last),
            hostname: hostname.map(Into::into),
        };
        let set =
            EndpointSet { endpoints: vec![endpoint(5, Some("db-0")), endpoint(6, None)], ports: vec![http] };
        index.put_slice(key("default", "db"), "db-x", set);
        index
    }

    fn ask(name: &str, kind: RecordType) -> String {
        let domain = Name::from_ascii("cluster.local.").unwrap();
        let answer = answer(&index(), &domain, &Name::from_ascii(name).unwrap(), kind);
        let records: Vec<String> = answer.records.iter().map(|record| record.data.to_string()).collect();
        let code =
            if answer.code == ResponseCode::NoError { String::new() } else { format!("{:?}", answer.code) };
        code + &records.join(" ")
    }

    #[test]
    fn the_specification_row_by_row() {
        use RecordType::{A, AAAA, CNAME, PTR, SRV, TXT};
        let rows = [
            ("web.default.svc.cluster.local.", A, "10.96.0.7"),
            ("WEB.Default.svc.cluster.LOCAL.", A, "10.96.0.7"),
            ("web.default.svc.cluster.local.", AAAA, ""),
            ("db.default.svc.cluster.local.", A, "10.244.1.5 10.244.1.6"),
            ("db-0.db.default.svc.cluster.local.", A, "10.244.1.5"),
            ("10-244-1-6.db.default.svc.cluster.local.", A, "10.244.1.6"),
            ("_http._tcp.web.default.svc.cluster.local.", SRV, "0 100 80 web.default.svc.cluster.local."),
            (
                "_http._tcp.db.default.svc.cluster.local.",
                SRV,
                "0 100 80 db-0.db.default.svc.cluster.local. 0 100 80 10-244-1-6.db.default.svc.cluster.local.",
            ),
            ("alias.default.svc.cluster.local.", A, "example.com."),
            ("alias.default.svc.cluster.local.", CNAME, "example.com."),
            ("10-244-1-9.default.pod.cluster.local.", A, "10.244.1.9"),
            ("dns-version.cluster.local.", TXT, "1.1.0"),
            ("7.0.96.10.in-addr.arpa.", PTR, "web.default.svc.cluster.local."),
            ("5.1.244.10.in-addr.arpa.", PTR, "db-0.db.default.svc.cluster.local."),
            ("default.svc.cluster.local.", A, ""),
            ("svc.cluster.local.", A, ""),
        ];
        for (name, kind, expected) in rows {
            assert_eq!(ask(name, kind), expected, "{name} {kind}");
        }
    }

    #[test]
    fn what_is_not_there_does_not_exist_and_what_is_not_ours_is_refused() {
        for name in [
            "nothing.default.svc.cluster.local.",
            "empty.default.svc.cluster.local.",
            "web.other.svc.cluster.local.",
            "other.svc.cluster.local.",
            "web.default.svc.cluster.local.cluster.local.",
            "host.web.default.svc.cluster.local.",
            "_dns._tcp.web.default.svc.cluster.local.",
            "8.0.96.10.in-addr.arpa.",
        ] {
            assert_eq!(ask(name, RecordType::A), "NXDomain", "{name}");
        }
        assert_eq!(ask("example.com.", RecordType::A), "Refused");
    }

    #[test]
    fn what_is_taken_away_is_gone_both_ways() {
        let mut index = index();
        index.remove_slice(&key("default", "db"), "db-x");
        index.retain_services(&[key("default", "db")].into());
        assert_eq!(index.services_at(Ipv4Addr::new(10, 244, 1, 5)).count(), 0);
        assert_eq!(index.services_at(Ipv4Addr::new(10, 96, 0, 7)).count(), 0);
        assert!(index.service(&key("default", "web")).is_none());
    }
}
