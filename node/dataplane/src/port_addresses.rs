//! On which addresses of the node its node ports are reached (kube-proxy's `--nodeport-addresses`).

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use ipnet::IpNet;

/// Which addresses.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum PortAddresses {
    /// Those that the node is known by, and for its own processes loopback.
    #[default]
    Node,
    /// The first of each family that the node is known by.
    Primary,
    /// All of its links' addresses in these networks; loopback only if it is in one.
    Within(Vec<IpNet>),
}

/// A list that says neither `primary` nor networks.
#[derive(Debug, thiserror::Error)]
#[error("{word:?} is neither a network such as 192.0.2.0/24 nor, alone, `primary`")]
pub struct BadPortAddresses {
    word: String,
}

impl FromStr for PortAddresses {
    type Err = BadPortAddresses;

    /// A list with commas; empty for the default.
    fn from_str(list: &str) -> Result<Self, BadPortAddresses> {
        match list {
            "" => Ok(Self::Node),
            "primary" => Ok(Self::Primary),
            list => {
                let net =
                    |word: &str| word.trim().parse().map_err(|_| BadPortAddresses { word: word.into() });
                Ok(Self::Within(list.split(',').map(net).collect::<Result<_, _>>()?))
            }
        }
    }
}

impl PortAddresses {
    /// The addresses, of those that the node is known by (the primary one of each family first) and those of its links.
    pub(crate) fn resolve(&self, node: &[IpAddr], links: &[IpAddr]) -> Vec<IpAddr> {
        let first = |v4: bool| node.iter().copied().find(move |ip| ip.is_ipv4() == v4);
        let primary = first(true).into_iter().chain(first(false));
        let mut found: Vec<IpAddr> = match self {
            Self::Primary => primary.collect(),
            Self::Node => with_loopback(node).collect(),
            Self::Within(nets) => {
                let within = |ip: &IpAddr| nets.iter().any(|net| net.contains(ip));
                links.iter().copied().filter(|ip| within(ip) && !is_of_a_link(*ip)).collect()
            }
        };
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// The addresses that a node is known by, and loopback of their families.
pub(crate) fn with_loopback(node: &[IpAddr]) -> impl Iterator<Item = IpAddr> {
    let loopback = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
    let known = |lo: &IpAddr| node.iter().any(|ip| ip.is_ipv4() == lo.is_ipv4());
    node.iter().copied().chain(loopback.into_iter().filter(known))
}

/// fe80::/10: means something only together with a link, which a frontend does not name.
fn is_of_a_link(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(list: &str) -> Vec<IpAddr> {
        list.split_whitespace().map(|ip| ip.parse().unwrap()).collect()
    }

    #[test]
    fn each_way_to_say_it_gives_its_addresses() {
        let links = ips("127.0.0.1 192.0.2.1 198.51.100.1 10.96.0.10 ::1 2001:db8::1 fe80::1");
        for (list, node, wanted) in [
            ("", "192.0.2.1", "127.0.0.1 192.0.2.1"),
            ("", "192.0.2.1 198.51.100.1 2001:db8::1", "127.0.0.1 192.0.2.1 198.51.100.1 ::1 2001:db8::1"),
            ("primary", "192.0.2.1 198.51.100.1 2001:db8::1", "192.0.2.1 2001:db8::1"),
            ("192.0.2.0/24,198.51.100.0/24", "192.0.2.1", "192.0.2.1 198.51.100.1"),
            ("127.0.0.0/8", "192.0.2.1", "127.0.0.1"),
            ("::/0", "192.0.2.1", "::1 2001:db8::1"),
            ("203.0.113.0/24", "192.0.2.1", ""),
        ] {
            let resolved = list.parse::<PortAddresses>().unwrap().resolve(&ips(node), &links);
            assert_eq!(resolved, ips(wanted), "{list} {node}");
        }
    }

    #[test]
    fn what_is_no_list_of_networks_is_refused_by_name() {
        for (list, word) in [("all", "all"), ("192.0.2.0/24,primary", "primary"), ("192.0.2.1", "192.0.2.1")]
        {
            let error = list.parse::<PortAddresses>().unwrap_err();
            assert_eq!(error.word, word);
        }
    }
}
