//! What a query is answered with, as the Kubernetes DNS specification 1.1.0 has it: pure, over the index.
//! <https://github.com/kubernetes/dns/blob/master/docs/specification.md>
//!
//! Where the specification is silent, as the server that most clusters run: a namespace without Services does not exist,
//! a pod record exists for any address (`pods insecure`), endpoints of a Service with an address have names too, the
//! Service's own name has an SRV record a port, and an address that is nobody's is asked elsewhere. Unlike there, a name
//! that only has names below it (`_tcp.web.shop.svc`) exists, as RFC 8020 has it.

mod reverse;
mod service;

#[cfg(test)]
mod tests;

use crate::index::{Index, Key};
use hickory_proto::{
    op::{Query, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{CNAME, NS, SOA, TXT},
    },
};
use std::net::IpAddr;

/// Seconds that a client may keep an answer, and that it may keep that there is none: endpoints come and go.
pub(crate) const TTL_S: u32 = 5;

/// The specification's version, as `dns-version` tells it.
const SCHEMA_VERSION: &str = "1.1.0";

/// The zone that is the cluster's.
#[derive(Clone, Debug)]
pub struct Zone {
    /// The cluster domain, absolute.
    pub domain: Name,
    /// Addresses of its name server.
    pub servers: Vec<IpAddr>,
}

/// Who knows a name.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// The cluster, and this is its answer.
    Ours(Answer),
    /// Nobody here: some other server may.
    Elsewhere,
}

/// What to answer, with authority.
#[derive(Debug, PartialEq)]
pub struct Answer {
    /// NoError or NXDomain.
    pub code: ResponseCode,
    /// The answer section.
    pub answers: Vec<Record>,
    /// The zone's SOA, where the answer is empty: says for how long that may be believed (RFC 2308).
    pub authorities: Vec<Record>,
    /// Addresses of the names in the answer.
    pub additionals: Vec<Record>,
    /// The name that the answer's alias stands for; its records belong into the answer, too.
    pub alias: Option<Name>,
}

/// What a name that exists has of the type that is asked for.
#[derive(Default)]
struct Found {
    data: Vec<RData>,
    /// Names in `data`, with their addresses.
    targets: Vec<(Name, IpAddr)>,
    alias: Option<Name>,
}

impl Found {
    fn of(data: impl IntoIterator<Item = RData>) -> Self {
        Self { data: data.into_iter().collect(), ..Self::default() }
    }

    fn addresses(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        Self::of(addresses.into_iter().map(RData::from))
    }
}

/// Answers one question of class IN.
pub fn answer(index: &Index, zone: &Zone, query: &Query) -> Outcome {
    let (name, kind) = (query.name(), query.query_type());
    if !zone.domain.zone_of(name) {
        return match reverse::names(index, &zone.domain, name) {
            // The authority over the one name; its zone is the reverse tree.
            Some(names) => {
                let soa = soa(index, zone, &name.trim_to(2));
                Outcome::Ours(finished(name, kind, Some(names), soa))
            }
            None => Outcome::Elsewhere,
        };
    }
    let found = forward(index, zone, name, kind);
    Outcome::Ours(finished(name, kind, found, soa(index, zone, &zone.domain)))
}

fn finished(name: &Name, kind: RecordType, found: Option<Found>, soa: Record) -> Answer {
    let code = if found.is_some() { ResponseCode::NoError } else { ResponseCode::NXDomain };
    let found = found.unwrap_or_default();
    let wanted = |data: &RData| {
        kind == RecordType::ANY || data.record_type() == kind || matches!(data, RData::CNAME(_))
    };
    let record = |name: Name, data| Record::from_rdata(name, TTL_S, data);
    let answers: Vec<Record> =
        found.data.into_iter().filter(wanted).map(|data| record(name.clone(), data)).collect();
    let authorities = if answers.is_empty() { vec![soa] } else { vec![] };
    let additionals = if answers.is_empty() { vec![] } else { found.targets };
    let additionals = additionals.into_iter().map(|(name, address)| record(name, address.into())).collect();
    // Whoever asks for the alias itself wants no more.
    let alias = found.alias.filter(|_| !matches!(kind, RecordType::CNAME | RecordType::ANY));
    Answer { code, answers, authorities, additionals, alias }
}

/// Names at and below the cluster domain. None: there is no such name.
fn forward(index: &Index, zone: &Zone, name: &Name, kind: RecordType) -> Option<Found> {
    let depth = name.iter().count() - zone.domain.iter().count();
    let labels: Vec<String> =
        name.iter().take(depth).map(|l| String::from_utf8_lossy(l).to_lowercase()).collect();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    match labels.as_slice() {
        [] => Some(apex(index, zone)),
        ["svc"] | ["pod"] | ["dns"] => Some(Found::default()),
        ["ns", "dns"] => Some(Found::addresses(zone.servers.iter().copied())),
        ["dns-version"] => Some(Found::of([RData::TXT(TXT::new(vec![SCHEMA_VERSION.into()]))])),
        [namespace, "svc" | "pod"] => index.has_namespace(namespace).then(Found::default),
        [address, _, "pod"] => pod(address).map(|address| Found::addresses([address])),
        [service, namespace, "svc"] => {
            service::itself(index, &zone.domain, &Key::new(namespace, service), kind)
        }
        [protocol, service, namespace, "svc"] if protocol.starts_with('_') => {
            service::protocol(index, &Key::new(namespace, service), protocol)
        }
        [host, service, namespace, "svc"] => service::endpoint(index, &Key::new(namespace, service), host),
        [port, protocol, service, namespace, "svc"] => {
            let port = port.strip_prefix('_')?;
            service::port(index, &zone.domain, &Key::new(namespace, service), port, protocol)
        }
        _ => None,
    }
}

fn apex(index: &Index, zone: &Zone) -> Found {
    let server = server_name(zone);
    let targets = zone.servers.iter().map(|address| (server.clone(), *address)).collect();
    Found { data: vec![soa(index, zone, &zone.domain).data, RData::NS(NS(server))], targets, alias: None }
}

/// `a-b-c-d` or, for IPv6, the groups with dashes for colons.
fn pod(dashed: &str) -> Option<IpAddr> {
    let v4 = dashed.matches('-').count() == 3 && !dashed.contains("--");
    dashed.replace('-', if v4 { "." } else { ":" }).parse().ok()
}

/// A name below the cluster domain; none if it were too long for DNS.
fn below<'a>(labels: impl IntoIterator<Item = &'a str>, domain: &Name) -> Option<Name> {
    Name::from_labels(labels.into_iter().map(str::as_bytes)).ok()?.append_domain(domain).ok()
}

fn server_name(zone: &Zone) -> Name {
    below(["ns", "dns"], &zone.domain).unwrap_or_else(|| zone.domain.clone())
}

/// An alias of another name, which the server has to follow.
fn alias(target: &str) -> Option<Found> {
    // An address is no name: nothing could be found there (API reference, ServiceSpec.externalName).
    if target.parse::<IpAddr>().is_ok() {
        return None;
    }
    let mut target = Name::from_utf8(target).ok()?;
    target.set_fqdn(true);
    Some(Found { data: vec![RData::CNAME(CNAME(target.clone()))], targets: vec![], alias: Some(target) })
}

/// Nobody transfers a zone of ours: of the numbers only the last is read.
fn soa(index: &Index, zone: &Zone, apex: &Name) -> Record {
    let mailbox = below(["hostmaster"], &zone.domain).unwrap_or_else(|| zone.domain.clone());
    let data = SOA::new(server_name(zone), mailbox, index.changes(), 7200, 1800, 86400, TTL_S);
    Record::from_rdata(apex.clone(), TTL_S, RData::SOA(data))
}
