//! From a Service and its EndpointSlices to frontends and their backends. Pure.
//!
//! The rules are kube-proxy's, which the conformance suite takes for granted:
//! <https://kubernetes.io/docs/reference/networking/virtual-ips/> and, for terminating endpoints, KEP-1669.
//! Does not own how objects arrive (`index`) or what is done about a plan (`ledger`).

mod endpoints;
mod types;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use endpoints::backends;
pub use types::{
    Backend, Endpoint, ExternalFrontend, Family, Frontend, FrontendKey, Plan, Protocol, ServicePort,
    ServiceView, SlicePort, SliceView, Unprogrammed,
};

/// Seconds that `sessionAffinity: ClientIP` lasts unless the Service says otherwise (`v1.DefaultClientIPServiceAffinitySeconds`).
pub const AFFINITY_DEFAULT_S: u32 = 10_800;

/// Everything that a Service asks of the kernel. Slices of other Services must not be among `slices`.
pub fn plan<'a>(service: &ServiceView, slices: impl Iterator<Item = &'a SliceView> + Clone) -> Plan {
    let mut plan = Plan { unprogrammed: service.unprogrammed.clone(), ..Plan::default() };
    for &address in &service.cluster_ips {
        for port in &service.ports {
            let Some(protocol) = port.protocol else {
                plan.unprogrammed.push(Unprogrammed::Protocol(port.number));
                continue;
            };
            let backends = backends(service, port, protocol, family(address), slices.clone());
            if backends.is_empty() && service.node_answers {
                continue;
            }
            let key = FrontendKey { address, port: port.number, protocol };
            plan.frontends.push(Frontend { key, backends, affinity_s: service.affinity_s });
        }
    }
    plan
}

fn family(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::V4 } else { Family::V6 }
}
