//! Service addresses. The record of an address is an IPAddress object of that name, as upstream's MultiCIDR allocator
//! keeps it (KEP-1880); ServiceCIDR objects and the configured ranges say which addresses there are.

use super::{Allocation, Side};
use crate::{cache, meta, ops::encode};
use ipnet::{IpNet, Ipv4Net};
use keelson_store::{Compare, Write};
use rand::Rng;
use serde_json::json;
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

const OFFSET_MIN: u32 = 16;
const OFFSET_MAX: u32 = 256;
/// One address in so many is kept for those who ask for a certain one.
const OFFSET_STEP: u32 = 16;

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
    /// No IPv4 range is there.
    #[error("no IPv4 Service range is configured")]
    NoRange,
}

impl Allocation<'_> {
    /// Takes one address: the one asked for, or any free one, first of the part of the range that is not kept for
    /// addresses asked for by name (KEP-3070).
    pub fn take_cluster_ip(&self, asked: Option<IpAddr>) -> Result<(IpAddr, Side), ClusterIpError> {
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
            None => self.any_free(&ranges)?,
        };
        Ok((address, self.record(address)))
    }

    /// Gives an address back, if its record says that it is this Service's.
    pub fn release_cluster_ip(&self, address: IpAddr) -> Option<Side> {
        let cache = self.cache("networking.k8s.io", "v1", "ipaddresses")?;
        let entry = cache.get(&cache.kind.key(None, &address.to_string()))?;
        let parent = entry.to_value();
        let owned = meta::text(&parent, &["spec", "parentRef", "resource"]) == "services"
            && meta::text(&parent, &["spec", "parentRef", "namespace"]) == self.namespace
            && meta::text(&parent, &["spec", "parentRef", "name"]) == self.name;
        let key = entry.head.key().clone();
        owned.then(|| Side {
            compare: Some(Compare::ModRevision(key.clone(), entry.mod_revision())),
            write: Write::Delete { key },
        })
    }

    fn ranges(&self) -> Vec<IpNet> {
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

    fn any_free(&self, ranges: &[IpNet]) -> Result<IpAddr, ClusterIpError> {
        let ranges: Vec<&Ipv4Net> = ranges
            .iter()
            .filter_map(|range| match range {
                IpNet::V4(range) => Some(range),
                IpNet::V6(_) => None,
            })
            .collect();
        if ranges.is_empty() {
            return Err(ClusterIpError::NoRange);
        }
        ranges
            .into_iter()
            .flat_map(parts)
            .find_map(|(first, count)| self.free_in(first, count))
            .map(IpAddr::V4)
            .ok_or(ClusterIpError::Full)
    }

    /// From a random place round to it again.
    fn free_in(&self, first: u32, count: u32) -> Option<Ipv4Addr> {
        if count == 0 {
            return None;
        }
        let start = rand::rng().random_range(0..count);
        (0..count)
            .map(|step| Ipv4Addr::from(first + (start + step) % count))
            .find(|address| !self.is_taken(IpAddr::V4(*address)))
    }

    fn record(&self, address: IpAddr) -> Side {
        let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
        let object = json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "IPAddress",
            "metadata": {
                "name": address.to_string(),
                "uid": uuid::Uuid::new_v4().to_string(),
                "creationTimestamp": meta::time_text(self.now),
                "labels": {
                    "ipaddress.kubernetes.io/ip-family": family,
                    "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
                },
            },
            "spec": {"parentRef": {"resource": "services", "namespace": self.namespace, "name": self.name}},
        });
        let key: Arc<str> = format!("/registry/networking.k8s.io/ipaddresses/{address}").into();
        let value = encode(object).expect("an IPAddress is far below the largest object");
        Side { compare: Some(Compare::Absent(key.clone())), write: Write::Put { key, value, ttl: None } }
    }
}

/// Neither the network's own address nor, for IPv4, its broadcast address.
fn usable(range: &IpNet, address: IpAddr) -> bool {
    range.contains(&address)
        && address != range.network()
        && !(address.is_ipv4() && address == range.broadcast())
}

/// The dynamic part of a range, then the part that is kept for static addresses as long as possible: (first, count).
fn parts(range: &Ipv4Net) -> [(u32, u32); 2] {
    let first = u32::from(range.network()).saturating_add(1);
    let count = u32::from(range.broadcast()).saturating_sub(first);
    let offset = if count <= OFFSET_MIN { 0 } else { (count / OFFSET_STEP).clamp(OFFSET_MIN, OFFSET_MAX) };
    [(first + offset, count - offset), (first, offset)]
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
        ];
        for (range, expected) in rows {
            let range: Ipv4Net = range.parse().expect("a network");
            let found = parts(&range).map(|(first, count)| (Ipv4Addr::from(first).to_string(), count));
            assert_eq!(found.each_ref().map(|(first, count)| (first.as_str(), *count)), expected, "{range}");
        }
    }

    #[test]
    fn the_ends_of_a_range_are_not_given() {
        let range: IpNet = "10.96.0.0/24".parse().expect("a network");
        for (address, expected) in [("10.96.0.0", false), ("10.96.0.255", false), ("10.96.0.1", true)] {
            assert_eq!(usable(&range, address.parse().expect("an address")), expected, "{address}");
        }
    }
}
