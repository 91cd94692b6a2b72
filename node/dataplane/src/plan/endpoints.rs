//! Which endpoints take a Service port's connections.

use super::{Backend, Family, Protocol, ServicePort, ServiceView, SliceView};

/// Ready endpoints; when there is none, those that still serve while they terminate (KEP-1669: better a pod that is
/// going than none). Topology hints are advice and are not taken.
pub(super) fn backends<'a>(
    service: &ServiceView,
    port: &ServicePort,
    protocol: Protocol,
    family: Family,
    slices: impl Iterator<Item = &'a SliceView>,
) -> Vec<Backend> {
    let (mut ready, mut draining) = (Vec::new(), Vec::new());
    for slice in slices.filter(|slice| slice.family == family) {
        // A slice may name a port twice only by mistake; then both numbers count, as they do for kube-proxy.
        for found in slice.ports.iter().filter(|p| p.name == port.name && p.protocol == Some(protocol)) {
            for endpoint in slice.endpoints.iter().filter(|e| e.local || !service.local_only) {
                let backend = Backend::new(endpoint.address, found.number);
                if endpoint.ready {
                    ready.push(backend);
                } else if endpoint.serving && endpoint.terminating {
                    draining.push(backend);
                }
            }
        }
    }
    let mut chosen = if ready.is_empty() { draining } else { ready };
    // Two slices may hold one endpoint while it moves from one to the other.
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}
