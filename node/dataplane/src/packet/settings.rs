//! What the per-packet programs are told when they are loaded.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
    path::Path,
};

use ipnet::IpNet;
use keelson_ebpf_common::net::{Address4, Address6};
use keelson_sys::net::link_index;

use super::wire::WireOptions;
use crate::{Error, Object, Talk, maps::pins::file, plan::Forwarding};

/// Where the host's own sockets take their ports from.
const LOCAL_PORTS: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// Ports below are for servers.
pub const PORTS_FLOOR: u16 = 1024;

/// What the daemon is configured to.
#[derive(Clone, Debug)]
pub struct PacketOptions {
    /// The compiled programs.
    pub object: Object,
    /// The device by which the node reaches the others and the world; without it nothing is done there.
    pub uplink: Option<String>,
    /// The node's addresses, the primary one of each family first.
    pub node_addresses: Vec<IpAddr>,
    /// Whether what pods send out of the cluster gets the node's address.
    pub masquerade: bool,
    /// Addresses that pods reach as themselves: the cluster's own.
    pub never_masqueraded: Vec<IpNet>,
    /// Ports of Services on nodes, which no translated source gets.
    pub node_ports: RangeInclusive<u16>,
    /// The pods' links are another network's: those of this node are reached by its stack, with the client's address, those of
    /// others by the uplink.
    pub foreign_pods: bool,
    /// Answer on the uplink for load balancers' addresses, shared out among the cluster's nodes.
    pub announce: bool,
    /// Attach by clsact even where the kernel has tcx.
    pub without_tcx: bool,
    /// What the program on the uplink's wire is told; without it, or without an uplink, it is not there.
    pub wire: Option<WireOptions>,
    /// Whether the programs say what they decide.
    pub talk: Talk,
    /// How packets from outside reach backends on other nodes, for Services that do not say.
    pub forwarding: Forwarding,
}

impl Default for PacketOptions {
    fn default() -> Self {
        Self {
            object: Object::default(),
            uplink: None,
            node_addresses: Vec::new(),
            masquerade: false,
            never_masqueraded: Vec::new(),
            node_ports: 30_000..=32_767,
            foreign_pods: false,
            announce: false,
            without_tcx: false,
            wire: Some(WireOptions::default()),
            talk: Talk::default(),
            forwarding: Forwarding::default(),
        }
    }
}

/// The programs' globals.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Constants {
    pub(super) node4: u32,
    pub(super) node6: [u32; 4],
    pub(super) uplink: u32,
    pub(super) ports_first: u32,
    pub(super) ports_count: u32,
    pub(super) masquerade: u32,
    pub(super) foreign_pods: u32,
}

impl Constants {
    pub(super) fn from(options: &PacketOptions) -> Result<Self, Error> {
        let uplink = match &options.uplink {
            None => 0,
            Some(name) => link_index(name)
                .map_err(file("looking up the device", Path::new(name)))?
                .ok_or_else(|| Error::NoDevice { name: name.clone() })?,
        };
        let text = fs::read_to_string(LOCAL_PORTS).map_err(file("reading", Path::new(LOCAL_PORTS)))?;
        let numbers: Vec<u16> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [first, last] = numbers[..] else {
            return Err(Error::PortRange { text: text.trim().to_owned() });
        };
        let ports = ports_beside(&[first..=last, options.node_ports.clone()]);
        let (ports_first, ports_count) = ports.map_or((0, 0), |ports| {
            let (first, last) = (u32::from(*ports.start()), u32::from(*ports.end()));
            (first, last - first + 1)
        });
        if ports_count == 0 {
            tracing::error!(
                local = format!("{first}-{last}"), node_ports = ?options.node_ports,
                "no port is left for translated sources: what needs one is dropped"
            );
        }
        let node4 = options.node_addresses.iter().find_map(|address| match address {
            IpAddr::V4(v4) => Some(Address4::new(*v4).0),
            IpAddr::V6(_) => None,
        });
        let node6 = options.node_addresses.iter().find_map(|address| match address {
            IpAddr::V6(v6) => Some(Address6::new(*v6).0),
            IpAddr::V4(_) => None,
        });
        Ok(Self {
            node4: node4.unwrap_or(Address4::new(Ipv4Addr::UNSPECIFIED).0),
            node6: node6.unwrap_or(Address6::new(Ipv6Addr::UNSPECIFIED).0),
            uplink,
            ports_first,
            ports_count,
            masquerade: u32::from(options.masquerade && uplink != 0),
            foreign_pods: options.foreign_pods.into(),
        })
    }
}

/// The longest run of ports from [`PORTS_FLOOR`] on that none of the ranges touches: a translated source with such a port is
/// never taken for a socket of the host or a Service's port. The first of several; `None` if all are taken.
pub fn ports_beside(taken: &[RangeInclusive<u16>]) -> Option<RangeInclusive<u16>> {
    let mut taken: Vec<(u32, u32)> =
        taken.iter().map(|range| (u32::from(*range.start()), u32::from(*range.end()))).collect();
    taken.sort_unstable();
    // From `next` on nothing is known to be taken.
    let (mut next, mut best) = (u32::from(PORTS_FLOOR), None::<(u32, u32)>);
    for (start, end) in taken.into_iter().chain([(1 << 16, 1 << 16)]) {
        if start > next && best.is_none_or(|(first, last)| start - next > last + 1 - first) {
            best = Some((next, start - 1));
        }
        next = next.max(end + 1);
    }
    best.map(|(first, last)| first as u16..=last as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn translated_sources_get_the_longest_run_that_is_free() {
        let rows = [
            (vec![32_768..=60_999, 30_000..=32_767], Some(1024..=29_999)),
            (vec![1024..=65_535], None),
            (vec![1024..=29_999, 30_000..=32_767], Some(32_768..=65_535)),
            (vec![10_000..=60_000, 2_000..=2_999], Some(3_000..=9_999)),
            (vec![10_000..=60_000, 2_000..=2_999, 20_000..=20_001], Some(3_000..=9_999)),
            (vec![], Some(1024..=65_535)),
        ];
        for (taken, free) in rows {
            assert_eq!(ports_beside(&taken), free, "{taken:?}");
        }
    }
}
