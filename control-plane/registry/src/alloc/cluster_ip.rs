//! Service addresses. The record of an address is an IPAddress object of that name, as upstream's MultiCIDR allocator
//! keeps it (KEP-1880); ServiceCIDR objects and the configured ranges say which addresses there are.

use super::{Allocation, Family, Side};
use crate::{cache, managed, meta, ops::encode};
use ipnet::IpNet;
use keelson_store::{Compare, Write};
use rand::Rng;
use serde_json::{Value, json};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};
use time::OffsetDateTime;

const OFFSET_MIN: u128 = 16;
const OFFSET_MAX: u128 = 256;
/// One address in so many is kept for those who ask for a certain one.
const OFFSET_STEP: u128 = 16;
/// Addresses of one range that are given; only IPv6 ranges wider than a /64 have more.
const RANGE_MAX: u128 = 1 << 64;

/// Whoever keeps an IPAddress says so in this label; ours has upstream's value, because it is the same allocator to
/// everyone who reads it.
pub(crate) const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`].
pub(crate) const MANAGER: &str = "ipallocator.k8s.io";

/// Why an address cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterIpError {
    /// Not in a range.
    #[error("the provided IP ({address}) is not in the valid range. The range of valid IPs is {ranges}")]
    OutOfRange {
        /// What was asked for.
        address: IpAddr,
        /// The ranges there are.
        ranges: String,
    },
    /// Somebody has it.
    #[error("provided IP is already allocated")]
    Taken,
    /// All are taken.
    #[error("range is full")]
    Full,
}

impl Allocation<'_> {
    /// Takes one address: the one asked for, or any free one of the family, first of the part of the range that is not
    /// kept for addresses asked for by name (KEP-3070).
    pub fn take_cluster_ip(
        &self,
        family: Family,
        asked: Option<IpAddr>,
    ) -> Result<(IpAddr, Side), ClusterIpError> {
        let ranges = self.ranges();
        let address = match asked {
            Some(address) => {
                if !ranges.iter().any(|range| usable(range, address)) {
                    let ranges: Vec<String> = ranges.iter().map(IpNet::to_string).collect();
                    return Err(ClusterIpError::OutOfRange { address, ranges: ranges.join(", ") });
                }
                if self.is_taken(address) {
                    return Err(ClusterIpError::Taken);
                }
                address
            }
            None => self.any_free(family, &ranges)?,
        };
        Ok((address, self.record(address)))
    }

    /// Gives an address back, if its record says that it is this Service's.
    pub fn release_cluster_ip(&self, address: IpAddr) -> Option<Side> {
        let cache = self.cache("networking.k8s.io", "v1", "ipaddresses")?;
        let entry = cache.get(&cache.kind.key(None, &address.to_string()))?;
        let key = entry.head.key().clone();
        (parent(&entry.to_value()) == Some((self.namespace.to_owned(), self.name.to_owned()))).then(|| Side {
            compare: Some(Compare::ModRevision(key.clone(), entry.mod_revision())),
            write: Write::Delete { key },
        })
    }

    /// The families that Services can have addresses of, the default one first.
    pub fn families(&self) -> Vec<Family> {
        let mut families = Vec::new();
        for family in self.ranges().iter().map(Family::of_range) {
            if !families.contains(&family) {
                families.push(family);
            }
        }
        families
    }

    /// The configured ranges, then those of ServiceCIDR objects that are not being deleted.
    pub(crate) fn ranges(&self) -> Vec<IpNet> {
        let mut ranges = self.config.service_cidrs.clone();
        let Some(cache) = self.cache("networking.k8s.io", "v1", "servicecidrs") else { return ranges };
        let state = cache.state();
        for entry in cache::range(&state.root, &cache.kind.range(None), None) {
            if entry.head.deleting {
                continue;
            }
            let object = entry.to_value();
            let declared = meta::items(&object, &["spec", "cidrs"]).iter();
            for range in declared.filter_map(|cidr| cidr.as_str()?.parse().ok()) {
                if !ranges.contains(&range) {
                    ranges.push(range);
                }
            }
        }
        ranges
    }

    fn is_taken(&self, address: IpAddr) -> bool {
        let Some(cache) = self.cache("networking.k8s.io", "v1", "ipaddresses") else { return false };
        cache.get(&cache.kind.key(None, &address.to_string())).is_some()
    }

    fn any_free(&self, family: Family, ranges: &[IpNet]) -> Result<IpAddr, ClusterIpError> {
        ranges
            .iter()
            .filter(|range| Family::of_range(range) == family)
            .flat_map(|range| parts(range).map(|part| (range, part)))
            .find_map(|(range, (first, count))| self.free_in(range, first, count))
            .ok_or(ClusterIpError::Full)
    }

    /// From a random place round to it again. `first` counts from the network's own address.
    fn free_in(&self, range: &IpNet, first: u128, count: u128) -> Option<IpAddr> {
        if count == 0 {
            return None;
        }
        let start = rand::rng().random_range(0..count);
        (0..count)
            .map(|step| nth(range, first + (start + step) % count))
            .find(|address| !self.is_taken(*address))
    }

    fn record(&self, address: IpAddr) -> Side {
        let object = ip_address(address, self.namespace, self.name, self.now);
        let key: Arc<str> = format!("/registry/networking.k8s.io/ipaddresses/{address}").into();
        let managed = managed::of_created(&self.table, &object, self.now);
        let value = encode(&object, &managed).expect("an IPAddress is far below the largest object").bytes;
        Side { compare: Some(Compare::Absent(key.clone())), write: Write::Put { key, value, ttl: None } }
    }
}

/// The IPAddress object of a Service's address.
pub(crate) fn ip_address(address: IpAddr, namespace: &str, name: &str, now: OffsetDateTime) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IPAddress",
        "metadata": {
            "name": address.to_string(),
            "uid": uuid::Uuid::new_v4().to_string(),
            "creationTimestamp": meta::time_text(now),
            "labels": {
                "ipaddress.kubernetes.io/ip-family": Family::of(address).as_str(),
                MANAGED_BY: MANAGER,
            },
        },
        "spec": {"parentRef": {"resource": "services", "namespace": namespace, "name": name}},
    })
}

/// Namespace and name of the Service that an IPAddress belongs to.
pub(crate) fn parent(address: &Value) -> Option<(String, String)> {
    let of = |key| meta::text(address, &["spec", "parentRef", key]);
    (of("group").is_empty() && of("resource") == "services")
        .then(|| (of("namespace").to_owned(), of("name").to_owned()))
}

/// Neither the network's own address nor, for IPv4, its broadcast address.
pub(crate) fn usable(range: &IpNet, address: IpAddr) -> bool {
    range.contains(&address)
        && address != range.network()
        && !(address.is_ipv4() && address == range.broadcast())
}

fn nth(range: &IpNet, offset: u128) -> IpAddr {
    match range {
        IpNet::V4(range) => Ipv4Addr::from(u32::from(range.network()).wrapping_add(offset as u32)).into(),
        IpNet::V6(range) => Ipv6Addr::from(u128::from(range.network()).wrapping_add(offset)).into(),
    }
}

/// The dynamic part of a range, then the part that is kept for static addresses as long as possible: (first, count),
/// where first counts from the network's own address.
fn parts(range: &IpNet) -> [(u128, u128); 2] {
    let bits = u32::from(range.max_prefix_len() - range.prefix_len());
    let size = 1_u128.checked_shl(bits).unwrap_or(RANGE_MAX).min(RANGE_MAX);
    // The network's own address is not given; nor is, for IPv4, the broadcast address.
    let unusable = if range.network().is_ipv4() { 2 } else { 1 };
    let count = size.saturating_sub(unusable);
    let offset = if count <= OFFSET_MIN { 0 } else { (count / OFFSET_STEP).clamp(OFFSET_MIN, OFFSET_MAX) };
    [(1 + offset, count - offset), (1, offset)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_addresses_are_kept_for_those_who_ask() {
        let rows = [
            ("10.96.0.0/16", [("10.96.1.1", 65_278), ("10.96.0.1", 256)]),
            ("10.96.0.0/24", [("10.96.0.17", 238), ("10.96.0.1", 16)]),
            ("10.96.0.0/28", [("10.96.0.1", 14), ("10.96.0.1", 0)]),
            ("fd00:96::/112", [("fd00:96::101", 65_279), ("fd00:96::1", 256)]),
            ("fd00:96::/48", [("fd00:96::101", (1 << 64) - 257), ("fd00:96::1", 256)]),
        ];
        for (range, expected) in rows {
            let range: IpNet = range.parse().expect("a network");
            let found = parts(&range).map(|(first, count)| (nth(&range, first).to_string(), count));
            assert_eq!(found.each_ref().map(|(first, count)| (first.as_str(), *count)), expected, "{range}");
        }
    }

    #[test]
    fn the_ends_of_a_range_are_not_given() {
        let rows = [
            ("10.96.0.0/24", "10.96.0.0", false),
            ("10.96.0.0/24", "10.96.0.255", false),
            ("10.96.0.0/24", "10.96.0.1", true),
            ("fd00::/120", "fd00::", false),
            ("fd00::/120", "fd00::ff", true),
            ("fd00::/120", "10.96.0.1", false),
        ];
        for (range, address, expected) in rows {
            let range: IpNet = range.parse().expect("a network");
            assert_eq!(usable(&range, address.parse().expect("an address")), expected, "{range} {address}");
        }
    }
}
