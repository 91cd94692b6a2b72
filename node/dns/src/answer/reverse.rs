//! Reverse lookups: `d.c.b.a.in-addr.arpa` and the nibbles of `ip6.arpa`.

use super::{Found, service};
use crate::index::Index;
use hickory_proto::rr::{Name, RData, rdata::PTR};
use std::net::IpAddr;

/// The names of the address that `name` stands for. None where it stands for none, or for one that is not the cluster's.
pub(super) fn names(index: &Index, domain: &Name, name: &Name) -> Option<Found> {
    let address = address(name)?;
    let names = index.services_at(address).filter_map(|key| service::name_at(index, domain, key, address));
    let data: Vec<RData> = names.map(|name| RData::PTR(PTR(name))).collect();
    (!data.is_empty()).then(|| Found::of(data))
}

fn address(name: &Name) -> Option<IpAddr> {
    let net = name.parse_arpa_name().ok()?;
    let address = (net.prefix_len() == net.max_prefix_len()).then(|| net.addr())?;
    // The library takes `+1` and `001` for numbers; only one spelling is an address' name.
    Name::from(address).eq_ignore_root(name).then_some(address)
}
