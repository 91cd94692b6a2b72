//! From the endpoints there should be to the fewest writes of slices. Pure.
//!
//! A slice is rewritten only if one of its endpoints changed or went; what is new goes into slices that are rewritten
//! anyway, then into one that has room for all of it, then into new slices. So one pod's change is one slice's write.

use super::endpoints::{Endpoints, Group, IPV4, families};
use keelson_harness::views::{Endpoint, EndpointSlice, SERVICE_NAME, Service};
use std::{collections::BTreeMap, sync::Arc};

/// Endpoints in one slice.
pub(super) const ENDPOINTS_MAX: usize = 100;
/// Whoever keeps a slice says so in this label; others are left alone.
pub(super) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Our name in it: upstream's, because this is the same controller to everyone who reads it.
pub(super) const MANAGER: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";

/// A slice's content.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Content {
    pub(super) group: Group,
    pub(super) endpoints: Vec<Endpoint>,
}

/// All writes for one Service.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) create: Vec<Content>,
    pub(super) update: Vec<(Arc<EndpointSlice>, Content)>,
    pub(super) delete: Vec<Arc<EndpointSlice>>,
}

/// The labels of each slice: the Service's, and what says whose it is.
pub(super) fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = (*service.metadata.labels).clone();
    labels.remove(HEADLESS);
    labels.insert(SERVICE_NAME.to_owned(), service.metadata.name.to_string());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    if service.spec.cluster_ip.is_empty() || service.spec.cluster_ip == "None" {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels
}

/// `slices`: those of the Service that we keep.
pub(super) fn plan(
    service: &Service,
    mut desired: BTreeMap<Group, Endpoints>,
    slices: Vec<Arc<EndpointSlice>>,
) -> Plan {
    let labels = labels(service);
    let mut plan = Plan::default();
    let mut by_group: BTreeMap<Group, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    if desired.is_empty() {
        // One empty slice stays: it says that the Service is known and has nothing.
        let family = families(service).first().copied().unwrap_or(IPV4);
        desired.insert(Group { family, ports: Vec::new() }, Endpoints::new());
    }
    for slice in slices.into_iter().filter(|s| !s.metadata.is_deleting()) {
        match desired.keys().find(|g| is_of(g, &slice)) {
            Some(group) => by_group.entry(group.clone()).or_default().push(slice),
            None => plan.delete.push(slice),
        }
    }
    for (group, endpoints) in desired {
        let slices = by_group.remove(&group).unwrap_or_default();
        plan_group(&mut plan, &labels, group, endpoints, slices);
    }
    reuse_deleted(&mut plan);
    plan
}

fn is_of(group: &Group, slice: &EndpointSlice) -> bool {
    let mut ports = slice.ports.clone();
    ports.sort();
    slice.address_type == group.family && ports == group.ports
}

struct Draft {
    slice: Arc<EndpointSlice>,
    endpoints: Vec<Endpoint>,
    changed: bool,
}

fn plan_group(
    plan: &mut Plan,
    labels: &BTreeMap<String, String>,
    group: Group,
    mut missing: Endpoints,
    slices: Vec<Arc<EndpointSlice>>,
) {
    let keep_one_empty = missing.is_empty();
    let mut drafts: Vec<Draft> =
        slices.into_iter().map(|slice| retain(slice, &mut missing, labels)).collect();
    let mut missing: Vec<Endpoint> = missing.into_values().collect();
    for draft in drafts.iter_mut().filter(|d| d.changed) {
        fill(draft, &mut missing);
    }
    let fits = |d: &&mut Draft| d.endpoints.len() + missing.len() <= ENDPOINTS_MAX;
    if !missing.is_empty()
        && let Some(fullest) = drafts.iter_mut().filter(fits).max_by_key(|d| d.endpoints.len())
    {
        fill(fullest, &mut missing);
    }
    while !missing.is_empty() {
        let rest = missing.split_off(missing.len().min(ENDPOINTS_MAX));
        plan.create.push(Content { group: group.clone(), endpoints: std::mem::replace(&mut missing, rest) });
    }
    let mut kept = 0;
    for draft in drafts {
        if draft.endpoints.is_empty() && !(keep_one_empty && kept == 0) {
            plan.delete.push(draft.slice);
            continue;
        }
        kept += 1;
        if draft.changed {
            plan.update.push((draft.slice, Content { group: group.clone(), endpoints: draft.endpoints }));
        }
    }
    if keep_one_empty && kept == 0 {
        plan.create.push(Content { group, endpoints: Vec::new() });
    }
}

/// Keeps of a slice what is wanted, in its newest form, and takes it off the list of what is missing.
fn retain(slice: Arc<EndpointSlice>, missing: &mut Endpoints, labels: &BTreeMap<String, String>) -> Draft {
    let wanted = |endpoint: &Endpoint| {
        let address = endpoint.addresses.first()?.clone();
        let uid = endpoint.target_ref.as_ref()?.uid.clone();
        missing.remove(&(address, uid))
    };
    let endpoints: Vec<Endpoint> = slice.endpoints.iter().filter_map(wanted).collect();
    let changed = endpoints != slice.endpoints || *slice.metadata.labels != *labels;
    Draft { slice, endpoints, changed }
}

fn fill(draft: &mut Draft, missing: &mut Vec<Endpoint>) {
    let room = ENDPOINTS_MAX.saturating_sub(draft.endpoints.len()).min(missing.len());
    if room > 0 {
        draft.endpoints.extend(missing.drain(..room));
        draft.changed = true;
    }
}

/// A slice that would be deleted takes the content of one that would be created: one write instead of two, and no
/// moment at which readers see neither. The address type of a slice cannot change.
fn reuse_deleted(plan: &mut Plan) {
    let mut created = std::mem::take(&mut plan.create);
    created.retain(|content| {
        let at = plan.delete.iter().position(|s| s.address_type == content.group.family);
        match at {
            Some(at) => {
                plan.update.push((plan.delete.remove(at), content.clone()));
                false
            }
            None => true,
        }
    });
    plan.create = created;
}
