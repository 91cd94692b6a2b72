//! From what Services use and what is recorded to what does not agree. Pure.

use crate::alloc::{NodePortRange, cluster_ip::usable};
use ipnet::IpNet;
use keelson_store::Revision;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};
use time::{Duration, OffsetDateTime};

/// A record without a Service may belong to a write that is under way; upstream waits as long.
const GRACE: Duration = Duration::seconds(60);

/// A Service and what it uses.
pub(super) struct Use {
    pub(super) key: Arc<str>,
    pub(super) revision: Revision,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) ports: BTreeSet<u16>,
}

/// An IPAddress.
pub(super) struct Record {
    pub(super) key: Arc<str>,
    pub(super) revision: Revision,
    pub(super) address: IpAddr,
    /// Namespace and name of its Service; None when it is something else's.
    pub(super) parent: Option<(String, String)>,
    /// Whether the allocator of Services keeps it.
    pub(super) ours: bool,
    pub(super) created: Option<OffsetDateTime>,
}

/// All that the plan looks at.
pub(super) struct Snapshot {
    pub(super) uses: Vec<Use>,
    pub(super) records: Vec<Record>,
    pub(super) ranges: Vec<IpNet>,
    pub(super) node_ports: NodePortRange,
    pub(super) now: OffsetDateTime,
}

/// Something that does not agree.
pub(super) enum Finding<'a> {
    /// The Service has an address that is nobody's.
    Unrecorded(&'a Use, IpAddr),
    /// The Service has an address that is another's.
    Shared(&'a Use, IpAddr),
    /// The Service has an address of no range.
    OutOfRange(&'a Use, IpAddr),
    /// Two Services have a node port.
    SharedPort(&'a Use, u16),
    /// The Service has a node port out of the range.
    PortOutOfRange(&'a Use, u16),
    /// The address is recorded for a Service that has it not.
    Unused(&'a Record),
}

pub(super) fn plan(snapshot: &Snapshot) -> Vec<Finding<'_>> {
    let recorded: BTreeMap<IpAddr, &Record> =
        snapshot.records.iter().map(|record| (record.address, record)).collect();
    let (mut findings, mut users) = (Vec::new(), BTreeSet::new());
    let mut ports: BTreeSet<u16> = BTreeSet::new();
    for user in &snapshot.uses {
        for address in &user.addresses {
            users.insert((*address, user.namespace.as_str(), user.name.as_str()));
            let owner = recorded.get(address).map(|record| &record.parent);
            match owner {
                None if !snapshot.ranges.iter().any(|range| usable(range, *address)) => {
                    findings.push(Finding::OutOfRange(user, *address));
                }
                None => findings.push(Finding::Unrecorded(user, *address)),
                Some(Some((namespace, name))) if *namespace == user.namespace && *name == user.name => {}
                Some(_) => findings.push(Finding::Shared(user, *address)),
            }
        }
        for port in &user.ports {
            if !snapshot.node_ports.contains(*port) {
                findings.push(Finding::PortOutOfRange(user, *port));
            } else if !ports.insert(*port) {
                findings.push(Finding::SharedPort(user, *port));
            }
        }
    }
    let unused = snapshot.records.iter().filter(|record| {
        let Some((namespace, name)) = &record.parent else { return false };
        let old = record.created.is_none_or(|created| snapshot.now - created > GRACE);
        record.ours && old && !users.contains(&(record.address, namespace.as_str(), name.as_str()))
    });
    findings.extend(unused.map(Finding::Unused));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, addresses: &[&str], ports: &[u16]) -> Use {
        Use {
            key: name.into(),
            revision: 1,
            namespace: "ns".to_owned(),
            name: name.to_owned(),
            uid: String::new(),
            addresses: addresses.iter().map(|text| text.parse().expect("an address")).collect(),
            ports: ports.iter().copied().collect(),
        }
    }

    fn record(address: &str, service: &str, age_s: i64, ours: bool) -> Record {
        Record {
            key: address.into(),
            revision: 1,
            address: address.parse().expect("an address"),
            parent: Some(("ns".to_owned(), service.to_owned())),
            ours,
            created: Some(OffsetDateTime::UNIX_EPOCH - Duration::seconds(age_s)),
        }
    }

    fn words(finding: &Finding<'_>) -> String {
        match finding {
            Finding::Unrecorded(user, address) => format!("{} unrecorded {address}", user.name),
            Finding::Shared(user, address) => format!("{} shared {address}", user.name),
            Finding::OutOfRange(user, address) => format!("{} outside {address}", user.name),
            Finding::SharedPort(user, port) => format!("{} shared {port}", user.name),
            Finding::PortOutOfRange(user, port) => format!("{} outside {port}", user.name),
            Finding::Unused(record) => format!("unused {}", record.address),
        }
    }

    #[test]
    fn uses_and_records_are_compared() {
        let snapshot = Snapshot {
            uses: vec![
                user("a", &["10.0.0.1", "fd00::1"], &[30_000, 30_001]),
                user("b", &["10.0.0.2"], &[30_001]),
                user("c", &["10.0.0.1"], &[20]),
                user("d", &["10.9.0.1"], &[]),
            ],
            records: vec![
                record("10.0.0.1", "a", 0, true),
                record("fd00::1", "a", 1_000, true),
                record("10.0.0.7", "gone", 61, true),
                record("10.0.0.8", "coming", 59, true),
                record("10.0.0.9", "theirs", 1_000, false),
                record("10.0.0.10", "a", 1_000, true),
            ],
            ranges: ["10.0.0.0/24", "fd00::/112"].map(|range| range.parse().expect("a range")).to_vec(),
            node_ports: NodePortRange::default(),
            now: OffsetDateTime::UNIX_EPOCH,
        };
        let found: Vec<String> = plan(&snapshot).iter().map(words).collect();
        let expected = [
            "b unrecorded 10.0.0.2",
            "b shared 30001",
            "c shared 10.0.0.1",
            "c outside 20",
            "d outside 10.9.0.1",
            "unused 10.0.0.7",
            "unused 10.0.0.10",
        ];
        assert_eq!(found, expected);
    }
}
