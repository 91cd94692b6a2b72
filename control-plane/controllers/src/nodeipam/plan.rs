//! Which range of pod addresses a node gets. Pure.

use ipnet::IpNet;
use std::{collections::BTreeSet, net::IpAddr};

/// A node's range may be smaller than the cluster's by so many bits, as upstream: more ranges are more than nodes.
const BITS_MAX: u8 = 16;

/// The cluster's range of one family, cut into ranges of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterRange {
    range: IpNet,
    node_prefix: u8,
}

/// Why a range cannot be cut so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterRangeError {
    /// The nodes' ranges would be larger than the cluster's.
    #[error("nodes cannot have a /{node_prefix} of the cluster's {range}")]
    TooSmall {
        /// The cluster's range.
        range: IpNet,
        /// Prefix length of the nodes' ranges.
        node_prefix: u8,
    },
    /// There would be more of them than can be kept account of.
    #[error("a /{node_prefix} a node makes more than 65536 ranges of the cluster's {range}")]
    TooMany {
        /// The cluster's range.
        range: IpNet,
        /// Prefix length of the nodes' ranges.
        node_prefix: u8,
    },
}

impl ClusterRange {
    /// Cuts a range.
    pub fn new(range: IpNet, node_prefix: u8) -> Result<Self, ClusterRangeError> {
        let range = range.trunc();
        if node_prefix < range.prefix_len() || node_prefix > range.max_prefix_len() {
            return Err(ClusterRangeError::TooSmall { range, node_prefix });
        }
        if node_prefix - range.prefix_len() > BITS_MAX {
            return Err(ClusterRangeError::TooMany { range, node_prefix });
        }
        Ok(Self { range, node_prefix })
    }

    /// Whether it is IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.range.network().is_ipv4()
    }

    fn count(&self) -> u32 {
        1 << (self.node_prefix - self.range.prefix_len())
    }

    /// Bits of an address below a node's prefix.
    fn shift(&self) -> u32 {
        u32::from(self.range.max_prefix_len() - self.node_prefix)
    }

    fn nth(&self, index: u32) -> Option<IpNet> {
        let offset = u128::from(index).checked_shl(self.shift())?;
        let address = match self.range.network() {
            IpAddr::V4(v4) => IpAddr::V4(u32::from(v4).wrapping_add(offset as u32).into()),
            IpAddr::V6(v6) => IpAddr::V6(u128::from(v6).wrapping_add(offset).into()),
        };
        IpNet::new(address, self.node_prefix).ok()
    }

    /// The indexes that a range touches; it may be larger or smaller than a node's.
    fn touched(&self, other: &IpNet) -> Option<std::ops::RangeInclusive<u32>> {
        if !self.range.contains(&other.network()) && !other.contains(&self.range.network()) {
            return None;
        }
        let number = |address: IpAddr| match address {
            IpAddr::V4(v4) => u128::from(u32::from(v4)),
            IpAddr::V6(v6) => u128::from(v6),
        };
        let first = number(self.range.network());
        let index = |address| {
            let index = number(address).saturating_sub(first).checked_shr(self.shift()).unwrap_or_default();
            u32::try_from(index).unwrap_or(u32::MAX).min(self.count() - 1)
        };
        Some(index(other.network())..=index(other.broadcast()))
    }

    /// The first range after the `start`th that no `used` one overlaps, and its index.
    pub(super) fn free<'a>(&self, used: impl Iterator<Item = &'a IpNet>, start: u32) -> Option<(u32, IpNet)> {
        let of_family = used.filter(|range| range.network().is_ipv4() == self.is_ipv4());
        let taken: BTreeSet<u32> = of_family.filter_map(|range| self.touched(range)).flatten().collect();
        let count = self.count();
        let index = (0..count).map(|step| (start + step) % count).find(|index| !taken.contains(index))?;
        Some((index, self.nth(index)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cluster's range, a node's prefix, ranges in use, where to begin, what is given.
    type Row = (&'static str, u8, &'static [&'static str], u32, Option<&'static str>);

    #[test]
    fn the_next_range_that_nobody_touches_is_given() {
        #[rustfmt::skip]
        let rows: [Row; 9] = [
            ("10.244.0.0/16", 24, &[], 0, Some("10.244.0.0/24")),
            ("10.244.0.0/16", 24, &["10.244.0.0/24"], 0, Some("10.244.1.0/24")),
            ("10.244.0.0/16", 24, &["10.244.0.0/24", "10.244.1.0/24"], 5, Some("10.244.5.0/24")),
            ("10.244.0.0/16", 24, &["10.244.255.0/24"], 255, Some("10.244.0.0/24")),
            ("10.244.0.0/16", 24, &["10.244.0.0/23", "10.244.2.128/25"], 0, Some("10.244.3.0/24")),
            ("10.244.0.0/16", 24, &["10.0.0.0/8"], 0, None),
            ("10.244.0.0/23", 24, &["10.244.0.0/24", "10.244.1.0/24"], 0, None),
            ("10.244.0.0/16", 24, &["192.168.0.0/16", "fd00::/8"], 0, Some("10.244.0.0/24")),
            ("fd00:244::/48", 64, &["fd00:244::/64"], 0, Some("fd00:244:0:1::/64")),
        ];
        for (range, prefix, used, start, expected) in rows {
            let cluster = ClusterRange::new(range.parse().unwrap(), prefix).unwrap();
            let used: Vec<IpNet> = used.iter().map(|text| text.parse().unwrap()).collect();
            let found = cluster.free(used.iter(), start).map(|(_, range)| range.to_string());
            assert_eq!(found.as_deref(), expected, "{range} {used:?}");
        }
    }

    #[test]
    fn what_cannot_be_cut_is_refused() {
        for (range, prefix) in
            [("10.244.0.0/24", 16), ("10.0.0.0/8", 25), ("fd00::/16", 64), ("10.0.0.0/8", 33)]
        {
            assert!(ClusterRange::new(range.parse().unwrap(), prefix).is_err(), "{range} {prefix}");
        }
    }
}
