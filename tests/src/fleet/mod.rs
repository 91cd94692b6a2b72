//! A fleet: as many Services as wanted, whose endpoints the test writes, and which all answer for themselves.
//!
//! ```text
//!  API ◀─writes─ Fleet (Services without selectors, a slice each)
//!                                                      ask(ClusterIP) ─programs─▶ 100.64.a.b:8080 ─▶ "100.64.a.b"
//!                                                      └──────────── on the Ground, a namespace where all of these are local
//! ```
//! Each Service owns a few addresses that no other has, so that an answer tells whether it came from an endpoint of this Service,
//! and from which. No pod is needed, and nothing of the machine is changed. Does not decide what is asked or changed when.

mod ground;

pub use ground::{Ground, ask};

use crate::{Namespace, api};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicUsize, Ordering},
};

/// Where clients connect to a Service.
const SERVICE_PORT: u16 = 80;
/// Where endpoints listen.
const TARGET_PORT: u16 = 8080;
/// Addresses that a Service owns, whether they are endpoints of it or not.
pub const OWNED: u8 = 8;
/// From here on, in the shared address space of RFC 6598: neither pods nor nodes have any of it.
const FIRST: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 0);
/// As many Services as have addresses there.
pub const SERVICES_MAX: usize = (1 << 22) / OWNED as usize;
/// Requests to the API at one time while a fleet is made.
const WRITERS: usize = 8;

/// Some of the addresses that a Service owns, a bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoints(pub u8);

impl Endpoints {
    /// Whether one of them is among these, by its number below [`OWNED`].
    pub fn holds(self, number: u8) -> bool {
        self.0 & (1 << number) != 0
    }

    fn numbers(self) -> impl Iterator<Item = u8> {
        (0..OWNED).filter(move |&number| self.holds(number))
    }
}

/// Services by their number, from 0 on, in a namespace.
pub struct Fleet<'a> {
    namespace: &'a Namespace,
    /// Where each is reached.
    addresses: Vec<SocketAddr>,
}

impl<'a> Fleet<'a> {
    /// Of no Service yet.
    pub fn new(namespace: &'a Namespace) -> Fleet<'a> {
        Fleet { namespace, addresses: Vec::new() }
    }

    /// Makes Services until there are so many, all with the same endpoints.
    pub fn grow(&mut self, services: usize, endpoints: Endpoints) -> Result<()> {
        ensure!(services <= SERVICES_MAX, "a fleet has {SERVICES_MAX} Services at most, not {services}");
        let (first, next) = (self.addresses.len(), AtomicUsize::new(self.addresses.len()));
        let work = || {
            let mut made = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= services {
                    return Ok(made);
                }
                made.push((number, self.create(number, endpoints)?));
            }
        };
        let made: Result<Vec<Vec<_>>> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(work)).collect();
            writers.into_iter().map(|writer| writer.join().expect("writers answer errors")).collect()
        });
        let mut made: Vec<(usize, SocketAddr)> = made?.into_iter().flatten().collect();
        made.sort_unstable_by_key(|(number, _)| *number);
        self.addresses.extend(made.into_iter().map(|(_, address)| address));
        ensure!(self.addresses.len() == services.max(first), "each Service was made once");
        Ok(())
    }

    /// How many there are.
    pub fn services(&self) -> usize {
        self.addresses.len()
    }

    /// Where a Service is reached.
    pub fn address(&self, service: usize) -> SocketAddr {
        self.addresses[service]
    }

    /// Writes other endpoints; returns when the API has answered.
    pub fn change(&self, service: usize, endpoints: Endpoints) -> Result<()> {
        let path = self.namespace.path(&format!("discovery.k8s.io/v1/endpointslices/{}", name(service)));
        let patch = json!({"endpoints": addresses(service, endpoints)});
        let answer = api::send("PATCH", &path, "application/merge-patch+json", &patch.to_string())?;
        ensure!(answer.code == 200, "PATCH {path}: {} {}", answer.code, answer.message());
        Ok(())
    }

    /// Connects to a Service; answers which of the addresses that it owns was reached. One that it does not own is an error.
    pub fn ask(&self, service: usize) -> Result<u8> {
        let address = self.address(service);
        let reached = ask(address).with_context(|| format!("{} at {address}", name(service)))?;
        match owner(reached) {
            Some((owner, number)) if owner == service => Ok(number),
            _ => bail!("{} at {address}: {reached} answered, which is no endpoint of it", name(service)),
        }
    }

    fn create(&self, service: usize, endpoints: Endpoints) -> Result<SocketAddr> {
        let name = name(service);
        let ports = json!([{"name": "http", "port": TARGET_PORT, "protocol": "TCP"}]);
        // The slice first: a Service has its endpoints from its first moment on.
        api::create(
            &self.namespace.path("discovery.k8s.io/v1/endpointslices"),
            &json!({
                "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
                "addressType": "IPv4", "ports": ports, "endpoints": addresses(service, endpoints),
            }),
        )?;
        let service = json!({"metadata": {"name": name}, "spec": {"ports": [{
            "name": "http", "port": SERVICE_PORT, "targetPort": TARGET_PORT,
        }]}});
        let made = api::create(&self.namespace.path("services"), &service)?;
        let address = made["spec"]["clusterIP"].as_str().and_then(|ip| ip.parse::<Ipv4Addr>().ok());
        Ok(SocketAddr::new(address.context("a Service without a ClusterIP")?.into(), SERVICE_PORT))
    }
}

fn name(service: usize) -> String {
    format!("fleet-{service:06}")
}

fn addresses(service: usize, endpoints: Endpoints) -> Vec<Value> {
    let address =
        |number| Ipv4Addr::from(u32::from(FIRST) + service as u32 * u32::from(OWNED) + u32::from(number));
    endpoints
        .numbers()
        .map(|number| json!({"addresses": [address(number)], "conditions": {"ready": true}}))
        .collect()
}

/// Whose an address is: the Service, and which of its own.
fn owner(address: Ipv4Addr) -> Option<(usize, u8)> {
    let offset = u32::from(address).checked_sub(u32::from(FIRST))?;
    let service = (offset / u32::from(OWNED)) as usize;
    (service < SERVICES_MAX).then_some((service, (offset % u32::from(OWNED)) as u8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_tells_whose_endpoint_it_is() {
        let text =
            |service, endpoints| serde_json::to_string(&addresses(service, Endpoints(endpoints))).unwrap();
        assert_eq!(text(2, 0), "[]");
        assert!(text(2, 0b1000_0001).contains("100.64.0.16") && text(2, 0b1000_0001).contains("100.64.0.23"));
        assert_eq!(owner("100.64.0.23".parse().unwrap()), Some((2, 7)));
        assert_eq!(owner("100.63.255.255".parse().unwrap()), None);
        assert_eq!(owner("100.128.0.0".parse().unwrap()), None);
    }
}
