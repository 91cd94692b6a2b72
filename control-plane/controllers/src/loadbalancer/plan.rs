//! Which addresses a Service of type LoadBalancer gets. Pure.

use super::pool::Pool;
use keelson_harness::views::Service;
use std::{collections::BTreeSet, net::IpAddr};

/// Addresses asked for, separated by commas; takes precedence over spec.loadBalancerIP.
pub(super) const ASKED: &str = "keelson.dev/load-balancer-ips";
/// The class by which Services ask for addresses of the pools; Services without any class get them too.
pub(super) const CLASS: &str = "keelson.dev/lb";

/// What a Service has and why that is not all it wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// In the order of its families, or of its own list.
    pub(super) addresses: Vec<IpAddr>,
    pub(super) missing: Option<Missing>,
}

/// Why addresses are missing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// UpperCamelCase.
    pub(super) reason: &'static str,
    /// For people.
    pub(super) message: String,
}

/// Whether its addresses come from the pools.
pub(super) fn is_ours(service: &Service) -> bool {
    service.spec.load_balancer_class.as_deref().is_none_or(|class| class == CLASS)
}

/// Whether it should have addresses now.
pub(super) fn wants(service: &Service) -> bool {
    service.spec.r#type == "LoadBalancer" && is_ours(service) && !service.metadata.is_deleting()
}

/// The addresses in its status.
pub(super) fn shown(service: &Service) -> Vec<IpAddr> {
    service.status.load_balancer.ingress.iter().filter_map(|entry| entry.ip.parse().ok()).collect()
}

/// `taken`: what other Services have.
pub(super) fn plan(service: &Service, pools: &[Pool], taken: &BTreeSet<IpAddr>) -> Plan {
    let asked = service.metadata.annotation(ASKED).unwrap_or(&service.spec.load_balancer_ip);
    if asked.is_empty() { any(service, pools, taken) } else { these(service, asked, pools, taken) }
}

/// All that are asked for, or none: a Service that is told one name of two would wait for the other without a sign.
fn these(service: &Service, asked: &str, pools: &[Pool], taken: &BTreeSet<IpAddr>) -> Plan {
    let mut addresses = Vec::new();
    for text in asked.split(',').map(str::trim) {
        let no = |reason, why: &str| Plan {
            addresses: Vec::new(),
            missing: Some(Missing { reason, message: format!("the address {text:?} asked for {why}") }),
        };
        let Ok(address) = text.parse::<IpAddr>() else { return no("InvalidAddress", "is no IP address") };
        if !families(service).contains(&address.is_ipv4()) {
            return no("InvalidAddress", "is of none of the Service's IP families");
        }
        if !pools.iter().any(|pool| pool.contains(address)) {
            return no("AddressNotInPool", "is in no load balancer pool");
        }
        if taken.contains(&address) {
            return no("AddressInUse", "belongs to another Service");
        }
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Plan { addresses, missing: None }
}

/// One of each family: that which it has, else a free one. A Service that does not require both families is content
/// with one.
fn any(service: &Service, pools: &[Pool], taken: &BTreeSet<IpAddr>) -> Plan {
    let (mut addresses, mut missing) = (Vec::new(), None);
    let shown = shown(service);
    for is_v4 in families(service) {
        let of_family = || pools.iter().filter(|pool| pool.is_ipv4() == is_v4);
        let kept = shown
            .iter()
            .copied()
            .find(|address| !taken.contains(address) && of_family().any(|pool| pool.contains(*address)));
        match kept.or_else(|| of_family().find_map(|pool| pool.free(taken))) {
            Some(address) => addresses.push(address),
            None => {
                let family = if is_v4 { "IPv4" } else { "IPv6" };
                missing.get_or_insert(match of_family().next() {
                    Some(_) => Missing {
                        reason: "PoolExhausted",
                        message: format!("every {family} address of the load balancer pools is taken"),
                    },
                    None => Missing {
                        reason: "NoPool",
                        message: format!("there is no load balancer pool of {family} addresses"),
                    },
                });
            }
        }
    }
    let needs_both = service.spec.ip_family_policy.as_deref() == Some("RequireDualStack");
    if !addresses.is_empty() && !needs_both {
        missing = None;
    }
    Plan { addresses, missing }
}

/// Whether each of its families is IPv4.
fn families(service: &Service) -> Vec<bool> {
    match &service.spec.ip_families[..] {
        [] => vec![true],
        families => families.iter().map(|family| family == "IPv4").collect(),
    }
}
