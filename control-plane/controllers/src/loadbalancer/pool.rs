//! The addresses that load balancers may have. Pure.

use ipnet::IpNet;
use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A range of addresses of one family, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    first: IpAddr,
    last: IpAddr,
}

/// Not a pool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a range such as 192.0.2.0/24 nor two addresses such as 192.0.2.10-192.0.2.20")]
pub struct NotAPool(String);

/// `CIDR`, less the addresses of the network itself and of its broadcast, or `FIRST-LAST`.
impl FromStr for Pool {
    type Err = NotAPool;

    fn from_str(text: &str) -> Result<Self, NotAPool> {
        let bad = || NotAPool(text.to_owned());
        if let Some((first, last)) = text.split_once('-') {
            let first: IpAddr = first.trim().parse().map_err(|_| bad())?;
            let last: IpAddr = last.trim().parse().map_err(|_| bad())?;
            let in_order = first.is_ipv4() == last.is_ipv4() && first <= last;
            return if in_order { Ok(Self { first, last }) } else { Err(bad()) };
        }
        let range: IpNet = text.trim().parse().map_err(|_| bad())?;
        let (first, last) = (range.network(), range.broadcast());
        // A /31, a /32 and their like have no address to spare.
        if range.max_prefix_len() - range.prefix_len() < 2 {
            return Ok(Self { first, last });
        }
        let last = if last.is_ipv4() { offset(last, -1) } else { last };
        Ok(Self { first: offset(first, 1), last })
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

fn offset(address: IpAddr, by: i128) -> IpAddr {
    match address {
        IpAddr::V4(v4) => Ipv4Addr::from(u32::from(v4).wrapping_add(by as u32)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6).wrapping_add(by as u128)).into(),
    }
}

impl Pool {
    /// Whether the address is one of it.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && self.first <= address && address <= self.last
    }

    /// Whether its addresses are IPv4.
    pub(super) fn is_ipv4(&self) -> bool {
        self.first.is_ipv4()
    }

    /// The lowest address that is not taken. Looks at no more addresses than are taken, and one.
    pub(super) fn free(&self, taken: &BTreeSet<IpAddr>) -> Option<IpAddr> {
        let mut candidate = self.first;
        for address in taken.range(self.first..=self.last) {
            if *address != candidate {
                break;
            }
            if candidate == self.last {
                return None;
            }
            candidate = offset(candidate, 1);
        }
        Some(candidate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_read_as_they_are_meant() {
        let rows = [
            ("192.0.2.0/29", Some("192.0.2.1-192.0.2.6")),
            ("192.0.2.7/32", Some("192.0.2.7-192.0.2.7")),
            ("192.0.2.8-192.0.2.9", Some("192.0.2.8-192.0.2.9")),
            ("2001:db8::/126", Some("2001:db8::1-2001:db8::3")),
            ("192.0.2.9-192.0.2.8", None),
            ("192.0.2.9-2001:db8::1", None),
            ("x", None),
        ];
        for (text, expected) in rows {
            assert_eq!(text.parse::<Pool>().ok().map(|pool| pool.to_string()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn the_lowest_free_address_is_given() {
        let pool: Pool = "192.0.2.1-192.0.2.3".parse().unwrap();
        let taken =
            |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<BTreeSet<IpAddr>>();
        let rows = [
            (taken(&[]), Some("192.0.2.1")),
            (taken(&["192.0.2.1", "192.0.2.3"]), Some("192.0.2.2")),
            (taken(&["192.0.2.1", "192.0.2.2", "192.0.2.3"]), None),
            (taken(&["192.0.1.9", "192.0.2.2"]), Some("192.0.2.1")),
        ];
        for (taken, expected) in rows {
            assert_eq!(pool.free(&taken), expected.map(|text| text.parse().unwrap()), "{taken:?}");
        }
    }
}
