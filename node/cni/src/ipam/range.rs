//! One range of pod addresses, as numbers: which of them pods get, in which order.

use ipnet::IpNet;
use std::net::IpAddr;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// An address's.
    pub fn of(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// A range, and where the search for a free address goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) net: IpNet,
    /// The usable addresses, both ends included; none if the first is beyond the last.
    first: u128,
    last: u128,
    /// The one given out last: the search goes on behind it, so that addresses return as late as can be.
    given: u128,
}

impl Range {
    /// Left out are the network's own address (in IPv6 that of all its routers), the one behind it, which stands for the
    /// node's side in many networks, and IPv4's broadcast address.
    pub(super) fn new(net: IpNet) -> Range {
        let net = net.trunc();
        let (start, end) = (number(net.network()), number(net.broadcast()));
        let (before, behind) = match (end - start, net) {
            (0 | 1, _) => (1, 0),
            (_, IpNet::V4(_)) => (2, 1),
            (_, IpNet::V6(_)) => (2, 0),
        };
        let first = start.saturating_add(before);
        Range { net, first, last: end - behind, given: first - 1 }
    }

    pub(super) fn family(&self) -> Family {
        Family::of(self.net.addr())
    }

    /// Notes that an address was given out; one of another range is none of ours.
    pub(super) fn note(&mut self, address: IpAddr) {
        if self.net.contains(&address) {
            self.given = number(address);
        }
    }

    /// The next address that is not `taken`. Each one looked at but the last is taken, so that the search ends soon however
    /// large the range is.
    pub(super) fn free(&self, taken: impl Fn(&IpAddr) -> bool) -> Option<IpAddr> {
        let address = |number| address(self.family(), number);
        let behind = self.given.saturating_add(1).max(self.first)..=self.last;
        let before = self.first..=self.given.min(self.last);
        behind.chain(before).map(address).find(|address| !taken(address))
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

fn address(family: Family, number: u128) -> IpAddr {
    match family {
        // A number of an IPv4 range has 32 bits.
        Family::V4 => IpAddr::V4((number as u32).into()),
        Family::V6 => IpAddr::V6(number.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_first_and_broadcast_are_never_given() {
        #[rustfmt::skip]
        let rows: [(&str, &[&str]); 7] = [
            ("10.244.1.0/29", &["10.244.1.2", "10.244.1.3", "10.244.1.4", "10.244.1.5", "10.244.1.6"]),
            ("10.244.1.0/30", &["10.244.1.2"]),
            ("10.244.1.0/31", &["10.244.1.1"]),
            ("10.244.1.1/32", &[]),
            ("fd00::8/126", &["fd00::a", "fd00::b"]),
            ("fd00::/127", &["fd00::1"]),
            ("fd00::1/128", &[]),
        ];
        for (net, expected) in rows {
            let mut range = Range::new(net.parse().unwrap());
            let mut given = Vec::new();
            while let Some(address) = range.free(|address| given.contains(address)) {
                range.note(address);
                given.push(address);
            }
            let texts: Vec<String> = given.iter().map(IpAddr::to_string).collect();
            assert_eq!(texts, expected, "{net}");
        }
    }

    #[test]
    fn the_search_goes_on_behind_the_last_and_comes_round() {
        for (net, last, next) in [
            ("10.244.1.0/24", "10.244.1.9", "10.244.1.10"),
            ("10.244.1.0/24", "10.244.1.254", "10.244.1.2"),
            ("fd00::/64", "fd00::ffff", "fd00::1:0"),
            ("fd00::/64", "fd00::ffff:ffff:ffff:ffff", "fd00::2"),
        ] {
            let mut range = Range::new(net.parse().unwrap());
            range.note(last.parse().unwrap());
            assert_eq!(range.free(|_| false).map(|found| found.to_string()).as_deref(), Some(next), "{net}");
        }
    }
}
