//! Which endpoints take a Service port's connections. The rules are those of kube-proxy's `CategorizeEndpoints`.
//!
//! Ready endpoints first; when there is none, those that still serve while they terminate (KEP-1669: better a pod that
//! is going than none). Hints (KEP-2433, KEP-3015) narrow ready endpoints only, and only if all of them have one and one
//! is meant for here: a hint is never the reason that a client reaches nothing.

use std::collections::BTreeSet;

use super::{Backend, Endpoint, Family, NodeHint, Protocol, ServicePort, SliceView};

/// Endpoints of one port and family, each under the address that connections go to, sorted by it.
pub(super) struct Endpoints<'a>(Vec<(Backend, &'a Endpoint)>);

/// How ready endpoints are narrowed.
enum Topology {
    Anywhere,
    SameNode,
    SameZone,
}

impl<'a> Endpoints<'a> {
    pub(super) fn of(
        port: &ServicePort,
        protocol: Protocol,
        family: Family,
        slices: impl Iterator<Item = &'a SliceView>,
    ) -> Self {
        let mut found = Vec::new();
        for slice in slices.filter(|slice| slice.family == family) {
            // A slice may name a port twice only by mistake; then both numbers count, as they do for kube-proxy.
            for port in slice.ports.iter().filter(|p| p.name == port.name && p.protocol == Some(protocol)) {
                let backend = |e: &'a Endpoint| (Backend::new(e.address, port.number), e);
                found.extend(slice.endpoints.iter().map(backend));
            }
        }
        // Two slices may hold one endpoint while it moves from one to the other: what is better about it counts.
        found.sort_by_key(|(backend, e)| (*backend, !e.ready, !e.serving));
        found.dedup_by_key(|(backend, _)| *backend);
        Self(found)
    }

    /// Those of traffic policy Cluster.
    pub(super) fn cluster(&self, zone: Option<&str>) -> Vec<Backend> {
        let topology = self.topology(zone);
        let near = |e: &Endpoint| match topology {
            Topology::Anywhere => true,
            Topology::SameNode => e.node_hint == NodeHint::Here,
            Topology::SameZone => is_for_zone(e, zone),
        };
        self.ready_else_draining(near, |_| true)
    }

    /// Those of traffic policy Local.
    pub(super) fn local(&self) -> Vec<Backend> {
        self.ready_else_draining(|e| e.local, |e| e.local)
    }

    /// A port that endpoints have and that is not this one.
    pub(super) fn other_port(&self, port: u16) -> Option<u16> {
        self.0.iter().map(|(backend, _)| backend.port()).find(|&other| other != port)
    }

    /// Those that have not stopped serving, whether they get new connections or not.
    pub(super) fn serving(&self) -> Vec<Backend> {
        self.backends(|e| e.ready || e.serving)
    }

    fn ready_else_draining(
        &self,
        ready: impl Fn(&Endpoint) -> bool,
        draining: impl Fn(&Endpoint) -> bool,
    ) -> Vec<Backend> {
        let chosen = self.backends(|e| e.ready && ready(e));
        if chosen.is_empty() {
            self.backends(|e| !e.ready && e.serving && e.terminating && draining(e))
        } else {
            chosen
        }
    }

    fn topology(&self, zone: Option<&str>) -> Topology {
        let ready = || self.0.iter().map(|(_, e)| *e).filter(|e| e.ready);
        let all_and_one_here = |hint: &dyn Fn(&Endpoint) -> (bool, bool)| {
            ready().all(|e| hint(e).0) && ready().any(|e| hint(e).1)
        };
        if all_and_one_here(&|e| (e.node_hint != NodeHint::Absent, e.node_hint == NodeHint::Here)) {
            Topology::SameNode
        } else if all_and_one_here(&|e| (!e.zone_hints.is_empty(), is_for_zone(e, zone))) {
            Topology::SameZone
        } else {
            Topology::Anywhere
        }
    }

    fn backends(&self, wanted: impl Fn(&Endpoint) -> bool) -> Vec<Backend> {
        self.0.iter().filter(|(_, e)| wanted(e)).map(|(backend, _)| *backend).collect()
    }
}

fn is_for_zone(endpoint: &Endpoint, zone: Option<&str>) -> bool {
    zone.is_some_and(|zone| endpoint.zone_hints.iter().any(|hint| **hint == *zone))
}

/// Pods of this node that are ready, in a family: what a load balancer weighs a node by.
pub(super) fn ready_here<'a>(family: Family, slices: impl Iterator<Item = &'a SliceView>) -> usize {
    let endpoints = slices.filter(|slice| slice.family == family).flat_map(|slice| &slice.endpoints);
    let here = endpoints.filter(|e| e.ready && e.local).map(|e| e.address);
    here.collect::<BTreeSet<_>>().len()
}
