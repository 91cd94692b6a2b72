//! Repair: what Services use and what is recorded as used are brought together again, at start and from time to time.
//!
//! A record is written with its Service in one transaction, but for a second address, which is taken before and given
//! back after. A crash in between, or somebody who deletes an IPAddress by hand, is mended here: addresses that no
//! Service has are released after a grace, addresses of Services that are not recorded are recorded, and what cannot be
//! mended is told. Upstream's repair loops do the same with the same words.

mod plan;

use crate::{
    Registry,
    alloc::{
        Allocation,
        cluster_ip::{ip_address, parent},
        node_port::{may_hold_ports, ports_of},
    },
    cache, managed, meta,
    ops::{encode, store_error},
    status::Status,
    table::KindTable,
    validate::service::needs,
};
use keelson_semantics::timestamp;
use keelson_store::{Compare, Txn, Write};
use plan::{Finding, Record, Snapshot, Use};
use serde_json::Value;
use std::{collections::BTreeSet, net::IpAddr, sync::Arc};
use time::OffsetDateTime;

/// Something to tell about a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// metadata.namespace of the Service.
    pub namespace: String,
    /// metadata.name of the Service.
    pub name: String,
    /// metadata.uid of the Service.
    pub uid: String,
    /// Reason of the Event.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl Registry {
    /// Looks at all Services and addresses once, mends what it can, and says what somebody should know. Harmless beside
    /// other writers and other repairs: each write compares with what was seen.
    pub async fn repair(&self, now: OffsetDateTime) -> Result<Vec<Notice>, Status> {
        self.fresh().await?;
        let snapshot = self.snapshot(now);
        let mut notices = Vec::new();
        for finding in plan::plan(&snapshot) {
            if let Some(txn) = mend(&self.table(), &finding, now)? {
                self.store.commit(txn).await.map_err(store_error)?;
            }
            notices.extend(notice(&finding, self.config.node_ports));
        }
        let revision = self.store.revision().await.map_err(store_error)?;
        self.progress.wait(revision).await?;
        Ok(notices)
    }

    fn snapshot(&self, now: OffsetDateTime) -> Snapshot {
        let allocation = Allocation::new(&self.caches, self.table(), &self.config, "", "", now);
        let mut snapshot = Snapshot {
            uses: Vec::new(),
            records: Vec::new(),
            ranges: allocation.ranges(),
            node_ports: self.config.node_ports,
            now,
        };
        // Services first: what is recorded in between is young, and a Service that changes fails the compare.
        if let Some(cache) = allocation.cache("", "v1", "services") {
            let state = cache.state();
            for entry in cache::range(&state.root, &cache.kind.range(None), None) {
                let object = entry.to_value();
                let held = may_hold_ports(&cache.kind, &entry.head);
                snapshot.uses.push(Use {
                    key: entry.head.key().clone(),
                    revision: entry.mod_revision(),
                    namespace: entry.head.namespace().to_owned(),
                    name: entry.head.name().to_owned(),
                    uid: entry.head.uid.to_string(),
                    addresses: addresses(&object),
                    ports: if held { ports_of(&object) } else { BTreeSet::new() },
                });
            }
        }
        if let Some(cache) = allocation.cache("networking.k8s.io", "v1", "ipaddresses") {
            let state = cache.state();
            for entry in cache::range(&state.root, &cache.kind.range(None), None) {
                let object = entry.to_value();
                let Ok(address) = entry.head.name().parse() else { continue };
                snapshot.records.push(Record {
                    key: entry.head.key().clone(),
                    revision: entry.mod_revision(),
                    address,
                    parent: parent(&object),
                    ours: entry.head.label(crate::alloc::cluster_ip::MANAGED_BY)
                        == Some(crate::alloc::cluster_ip::MANAGER),
                    created: timestamp::parse(meta::field(&object, "creationTimestamp")).ok(),
                });
            }
        }
        snapshot
    }
}

fn addresses(service: &Value) -> Vec<IpAddr> {
    if !needs::is_internal(service) {
        return Vec::new();
    }
    needs::ips(service).into_iter().filter_map(|ip| ip.parse().ok()).collect()
}

/// The write that mends a finding, if one can.
fn mend(table: &Arc<KindTable>, finding: &Finding<'_>, now: OffsetDateTime) -> Result<Option<Txn>, Status> {
    Ok(match finding {
        Finding::Unrecorded(user, address) => {
            let key: Arc<str> = format!("/registry/networking.k8s.io/ipaddresses/{address}").into();
            let object = ip_address(*address, &user.namespace, &user.name, now);
            let value = encode(&object, &managed::of_created(table, &object, now))?.bytes;
            Some(Txn {
                compares: vec![
                    Compare::Absent(key.clone()),
                    Compare::ModRevision(user.key.clone(), user.revision),
                ],
                writes: vec![Write::Put { key, value, ttl: None }],
            })
        }
        Finding::Unused(record) => Some(Txn {
            compares: vec![Compare::ModRevision(record.key.clone(), record.revision)],
            writes: vec![Write::Delete { key: record.key.clone() }],
        }),
        Finding::Shared(..)
        | Finding::OutOfRange(..)
        | Finding::SharedPort(..)
        | Finding::PortOutOfRange(..) => None,
    })
}

fn notice(finding: &Finding<'_>, range: crate::alloc::NodePortRange) -> Option<Notice> {
    let family = |address: &IpAddr| crate::alloc::Family::of(*address).as_str();
    let (user, reason, message) = match finding {
        Finding::Unrecorded(user, address) => (
            user,
            "ClusterIPNotAllocated",
            format!("Cluster IP [{}]: {address} is not allocated; repairing", family(address)),
        ),
        Finding::Shared(user, address) => (
            user,
            "ClusterIPAlreadyAllocated",
            format!(
                "Cluster IP [{}]: {address} was assigned to multiple services; please recreate service",
                family(address)
            ),
        ),
        Finding::OutOfRange(user, address) => (
            user,
            "ClusterIPOutOfRange",
            format!(
                "Cluster IP [{}]: {address} is not within any configured Service CIDR; please recreate service",
                family(address)
            ),
        ),
        Finding::SharedPort(user, port) => (
            user,
            "PortAlreadyAllocated",
            format!("Port {port} was assigned to multiple services; please recreate service"),
        ),
        Finding::PortOutOfRange(user, port) => (
            user,
            "PortOutOfRange",
            format!("Port {port} is not within the port range {range}; please recreate service"),
        ),
        Finding::Unused(record) => {
            tracing::warn!(address = %record.address, "an address that no Service has is released");
            return None;
        }
    };
    let (namespace, name, uid) = (user.namespace.clone(), user.name.clone(), user.uid.clone());
    Some(Notice { namespace, name, uid, reason, message })
}
