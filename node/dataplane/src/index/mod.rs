//! Services, their slices and the node as last seen, and which Services must be planned again.
//!
//! Three verbs for each kind: apply, delete, and a reset from a fresh list (`Init`, `InitApply`.., `InitDone` of kube's
//! watcher), all of which end in a set of dirty Services. Does no I/O; a plan is made only when changes are taken.

mod changes;
mod claims;
mod listing;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

pub(crate) use changes::{Changes, Notice, Subject};
use changes::{NOT_PROGRAMMED, Planned, words};
use claims::{Claim, Claimed, Claims};
use ipnet::IpNet;
use kube::{Resource, runtime::watcher};
pub(crate) use listing::Listing;

use crate::{
    flows::{PortName, Tenure, fingerprint},
    maps::GoneTcp,
    objects::{HostPorts, NodeObject, NodeView, PodObject, Service, ServiceObject, Slice, SliceObject},
    plan::{self, ExternalFrontend, FrontendKey, HealthCheck, Node, NodePort, Plan, Unprogrammed},
};

/// Namespace and name.
pub(crate) type Key = (Box<str>, Box<str>);

/// What one of the watches delivered.
#[derive(Debug)]
pub(crate) enum Seen {
    Service(watcher::Event<ServiceObject>),
    Slice(watcher::Event<SliceObject>),
    /// A node's object; that of this node, or of all.
    Node(watcher::Event<NodeObject>),
    /// A pod of this node.
    Pod(watcher::Event<PodObject>),
    /// Where node ports are reached, from now on.
    PortAddresses(Vec<IpAddr>),
}

/// Everything that is known of the API.
#[derive(Debug)]
pub(crate) struct Index {
    name: Box<str>,
    node: Node,
    /// Clients that are known without the Node object.
    given_clients: Vec<IpNet>,
    eligible: bool,
    /// Nodes that may answer for load balancers' addresses, as far as nodes are watched.
    announcers: BTreeSet<Box<str>>,
    services: BTreeMap<Key, Service>,
    /// Pods with host ports, by a name that no Service can have.
    pods: BTreeMap<Key, HostPorts>,
    /// Slices by Service, then by their own name. Both in one namespace.
    slices: BTreeMap<Key, BTreeMap<Box<str>, Slice>>,
    /// The Service of each slice: a slice may be given to another.
    homes: BTreeMap<Key, Box<str>>,
    planned: BTreeMap<Key, Planned>,
    /// Addresses of endpoints that were terminating and are gone, by Service, not yet told.
    departed: BTreeMap<Key, BTreeSet<IpAddr>>,
    claims: Claims,
    /// Whose a frontend was before.
    pub(crate) tenure: Tenure,
    dirty: BTreeSet<Key>,
    node_ports_changed: bool,
    external_changed: bool,
    announced_changed: bool,
    health_changed: bool,
    unprogrammed_changed: bool,
    notices: Vec<Notice>,
    /// Changes to the number of slices that give a pod of this node as ready.
    ready_deltas: Vec<(Box<str>, i32)>,
    services_list: Listing,
    slices_list: Listing,
    node_list: Listing,
    /// `None` where host ports are somebody else's.
    pods_list: Option<Listing>,
}

impl Index {
    /// Of a node by its name; its `clients` are those that are known without the Node object. Its pods are waited for only if
    /// they are to have host ports.
    pub(crate) fn new(name: &str, node: Node, host_ports: bool) -> Self {
        Self {
            name: name.into(),
            given_clients: node.clients.clone(),
            node,
            eligible: true,
            announcers: BTreeSet::new(),
            services: BTreeMap::new(),
            pods: BTreeMap::new(),
            slices: BTreeMap::new(),
            homes: BTreeMap::new(),
            planned: BTreeMap::new(),
            departed: BTreeMap::new(),
            claims: Claims::default(),
            tenure: Tenure::default(),
            dirty: BTreeSet::new(),
            node_ports_changed: true,
            external_changed: true,
            announced_changed: true,
            health_changed: true,
            unprogrammed_changed: false,
            notices: Vec::new(),
            ready_deltas: Vec::new(),
            services_list: Listing::default(),
            slices_list: Listing::default(),
            node_list: Listing::default(),
            pods_list: host_ports.then(Listing::default),
        }
    }

    /// Whether everything was listed to the end: before, an absent object means nothing.
    pub(crate) fn complete(&self) -> bool {
        let lists = [&self.services_list, &self.slices_list, &self.node_list];
        lists.into_iter().chain(&self.pods_list).all(|list| list.complete())
    }

    pub(crate) fn see(&mut self, seen: Seen) {
        match seen {
            Seen::Service(event) => self.see_service(event),
            Seen::Slice(event) => self.see_slice(event),
            Seen::Node(event) => self.see_node(event),
            Seen::Pod(event) => self.see_pod(event),
            Seen::PortAddresses(addresses) => {
                self.apply_node(Node { port_addresses: addresses, ..self.node.clone() });
            }
        }
    }

    fn see_service(&mut self, event: watcher::Event<ServiceObject>) {
        match event {
            watcher::Event::Init => self.services_list.begin(),
            watcher::Event::InitApply(object) => {
                self.services_list.saw(key(&object));
                self.apply_service(&object);
            }
            watcher::Event::InitDone => {
                let gone = self.services_list.finish(self.services.keys());
                gone.iter().for_each(|key| self.delete_service(key));
            }
            watcher::Event::Apply(object) => self.apply_service(&object),
            watcher::Event::Delete(object) => self.delete_service(&key(&object)),
        }
    }

    fn see_slice(&mut self, event: watcher::Event<SliceObject>) {
        match event {
            watcher::Event::Init => self.slices_list.begin(),
            watcher::Event::InitApply(object) => {
                self.slices_list.saw(key(&object));
                self.apply_slice(&object);
            }
            watcher::Event::InitDone => {
                let gone = self.slices_list.finish(self.homes.keys());
                gone.iter().for_each(|key| self.delete_slice(key));
            }
            watcher::Event::Apply(object) => self.apply_slice(&object),
            watcher::Event::Delete(object) => self.delete_slice(&key(&object)),
        }
    }

    fn see_pod(&mut self, event: watcher::Event<PodObject>) {
        let Some(list) = &mut self.pods_list else { return };
        match event {
            watcher::Event::Init => list.begin(),
            watcher::Event::InitApply(object) => {
                list.saw(pod_key(&object));
                self.apply_pod(&object);
            }
            watcher::Event::InitDone => {
                let gone = list.finish(self.pods.keys());
                gone.into_iter().for_each(|key| self.put_pod(key, None));
            }
            watcher::Event::Apply(object) => self.apply_pod(&object),
            watcher::Event::Delete(object) => self.put_pod(pod_key(&object), None),
        }
    }

    fn apply_pod(&mut self, object: &PodObject) {
        self.put_pod(pod_key(object), object.project());
    }

    fn put_pod(&mut self, key: Key, pod: Option<HostPorts>) {
        let before = match pod.clone() {
            Some(pod) => self.pods.insert(key.clone(), pod),
            None => self.pods.remove(&key),
        };
        if before != pod {
            self.dirty.insert(key);
        }
    }

    fn see_node(&mut self, event: watcher::Event<NodeObject>) {
        match event {
            watcher::Event::Init => self.node_list.begin(),
            watcher::Event::InitApply(object) => {
                self.node_list.saw(key(&object));
                self.apply_node_view(&key(&object).1, object.project());
            }
            watcher::Event::InitDone => {
                let names = self.announcers.iter().chain([&self.name]);
                let known: Vec<Key> = names.map(|name| ("".into(), name.clone())).collect();
                for (_, gone) in self.node_list.finish(known.iter()) {
                    self.apply_node_view(&gone, NodeView::default());
                }
            }
            watcher::Event::Apply(object) => self.apply_node_view(&key(&object).1, object.project()),
            watcher::Event::Delete(object) => self.apply_node_view(&key(&object).1, NodeView::default()),
        }
    }

    /// One without an object is as [`NodeView::default`] says.
    fn apply_node_view(&mut self, name: &str, view: NodeView) {
        self.announced_changed |= match view.announces {
            true => self.announcers.insert(name.into()),
            false => self.announcers.remove(name),
        };
        if *name == *self.name {
            self.eligible = view.eligible;
            let clients = self.given_clients.iter().copied().chain(view.pod_cidrs).collect();
            self.apply_node(Node { zone: view.zone, clients, ..self.node.clone() });
        }
    }

    fn apply_node(&mut self, node: Node) {
        if node != self.node {
            self.node = node;
            self.dirty.extend(self.services.keys().chain(self.pods.keys()).cloned());
        }
    }

    fn apply_service(&mut self, object: &ServiceObject) {
        let (key, service) = (key(object), object.project());
        if self.services.get(&key) != Some(&service) {
            self.services.insert(key.clone(), service);
            self.dirty.insert(key);
        }
    }

    fn delete_service(&mut self, key: &Key) {
        if self.services.remove(key).is_some() {
            self.dirty.insert(key.clone());
        }
    }

    fn apply_slice(&mut self, object: &SliceObject) {
        let (namespace, name) = key(object);
        let Some(slice) = object.project(&self.name) else {
            return self.delete_slice(&(namespace, name));
        };
        if self.homes.get(&(namespace.clone(), name.clone())).is_some_and(|home| *home != slice.service) {
            self.delete_slice(&(namespace.clone(), name.clone()));
        }
        let service = (namespace.clone(), slice.service.clone());
        self.homes.insert((namespace, name.clone()), slice.service.clone());
        self.ready_deltas.extend(slice.ready_here.iter().map(|uid| (uid.clone(), 1)));
        let old = self.slices.entry(service.clone()).or_default().insert(name, slice);
        self.note_departed(&service, old.as_ref());
        self.ready_deltas.extend(old.into_iter().flat_map(|old| old.ready_here).map(|uid| (uid, -1)));
        self.dirty.insert(service);
    }

    fn delete_slice(&mut self, key: &Key) {
        let Some(home) = self.homes.remove(key) else { return };
        let service = (key.0.clone(), home);
        if let Some(slices) = self.slices.get_mut(&service) {
            let old = slices.remove(&key.1);
            if slices.is_empty() {
                self.slices.remove(&service);
            }
            self.note_departed(&service, old.as_ref());
            self.ready_deltas.extend(old.into_iter().flat_map(|old| old.ready_here).map(|uid| (uid, -1)));
        }
        self.dirty.insert(service);
    }

    /// Who was terminating and is in none of a Service's slices any more was a pod that is no more. Who goes otherwise may
    /// live on, and its connections with it.
    fn note_departed(&mut self, service: &Key, old: Option<&Slice>) {
        let now = self.slices.get(service);
        let there = |address| {
            let slices = now.into_iter().flat_map(BTreeMap::values);
            slices.flat_map(|slice| &slice.view.endpoints).any(|endpoint| endpoint.address == address)
        };
        let old = old.into_iter().flat_map(|old| &old.view.endpoints).filter(|e| e.terminating);
        let gone: Vec<_> = old.map(|e| e.address).filter(|address| !there(*address)).collect();
        if !gone.is_empty() {
            self.departed.entry(service.clone()).or_default().extend(gone);
        }
    }

    /// By frontend, of Services that are still there.
    fn take_departed(&mut self) -> GoneTcp {
        let mut by_frontend = GoneTcp::new();
        for (key, gone) in std::mem::take(&mut self.departed) {
            let frontends = self.planned.get(&key).map_or(&[][..], |planned| &planned.frontends);
            for frontend in frontends.iter().filter(|f| f.protocol == plan::Protocol::Tcp) {
                if self.claims.owner(frontend) == Some(&key) {
                    by_frontend.entry(*frontend).or_default().extend(&gone);
                }
            }
        }
        by_frontend
    }

    /// Plans every Service that changed since.
    pub(crate) fn take_changes(&mut self) -> Changes {
        let mut changes = Changes::default();
        // Who loses a frontend to another, or waits for one that is free now, is planned in the same go.
        while let Some(key) = self.dirty.pop_first() {
            self.plan_one(key, &mut changes);
        }
        let wanted: BTreeSet<_> = changes.wanted.iter().map(|frontend| frontend.key).collect();
        changes.gone.retain(|key| !wanted.contains(key));
        if std::mem::take(&mut self.node_ports_changed) {
            changes.node_ports = Some(self.node_ports());
        }
        if std::mem::take(&mut self.external_changed) {
            changes.external = Some(self.external());
        }
        if std::mem::take(&mut self.announced_changed) {
            changes.announced = Some(self.announced());
        }
        changes.departed = self.take_departed();
        changes
    }

    /// Plans every Service: what the kernel should hold, all told.
    pub(crate) fn take_all(&mut self) -> Changes {
        self.dirty.extend(self.services.keys().chain(self.pods.keys()).cloned());
        (self.node_ports_changed, self.external_changed, self.announced_changed) = (true, true, true);
        let mut changes = self.take_changes();
        let serving = self.planned.values().flat_map(|planned| &planned.serving_udp);
        changes.serving_udp =
            serving.map(|(key, serving)| (*key, serving.iter().copied().collect())).collect();
        changes
    }

    /// Has these planned again with the next changes.
    pub(crate) fn touch(&mut self, frontends: impl Iterator<Item = FrontendKey>) {
        let owners: Vec<_> = frontends.filter_map(|key| self.claims.owner(&key).cloned()).collect();
        self.dirty.extend(owners);
    }

    fn plan_one(&mut self, key: Key, changes: &mut Changes) {
        let mut plan = match self.services.get(&key) {
            Some(service) => plan::plan(
                &self.node,
                &service.view,
                self.slices.get(&key).into_iter().flat_map(BTreeMap::values).map(|s| &s.view),
            ),
            None => {
                self.pods.get(&key).map_or_else(Plan::default, |pod| plan::plan_pod(&self.node, &pod.view))
            }
        };
        let asked: Vec<_> = plan.frontends.iter().map(|planned| planned.frontend.key).collect();
        let before = self.planned.remove(&key).unwrap_or_default();
        self.release(&key, before.frontends.iter().filter(|old| !asked.contains(old)), changes);
        let lost = self.claim(&key, std::mem::take(&mut plan.frontends), changes);
        let mut serving_udp: BTreeMap<_, _> = plan.serving_udp.into_iter().collect();
        serving_udp.retain(|frontend, _| !lost.contains(frontend));
        plan.external.retain(|external| !lost.contains(&external.key));
        plan.unprogrammed.extend(lost.into_iter().map(Unprogrammed::Claimed));
        let now = Planned {
            frontends: asked,
            serving_udp,
            node_ports: plan.node_ports,
            external: plan.external,
            announced: plan.announced,
            health: plan.health,
            unprogrammed: plan.unprogrammed,
        };
        changes.serving_udp.extend(before.lost_serving(&now));
        self.node_ports_changed |= before.node_ports != now.node_ports;
        self.announced_changed |= before.announced != now.announced;
        self.external_changed |= before.external != now.external;
        self.health_changed |= before.health != now.health;
        self.note(&key, &before, &now);
        if self.services.contains_key(&key) || self.pods.contains_key(&key) {
            self.planned.insert(key, now);
        }
    }

    /// Whose a frontend is.
    pub(crate) fn port_name(&self, frontend: &FrontendKey) -> Option<PortName> {
        let key = self.claims.owner(frontend)?;
        let ports = self.services.get(key).map_or(&[][..], |service| &service.view.ports);
        let asks = |p: &&plan::ServicePort| p.number == frontend.port || p.node_port == Some(frontend.port);
        let port = ports.iter().filter(asks).find(|p| p.protocol == Some(frontend.protocol));
        let port = port.map(|port| port.name.clone()).unwrap_or_default();
        Some(PortName { namespace: key.0.clone(), service: key.1.clone(), port })
    }

    /// The fingerprint of whoever has a frontend, if he had it in an epoch already; see [`Tenure::is_current`].
    pub(crate) fn owner_in(&self, frontend: &FrontendKey, epoch: u32, stamp: Option<u64>) -> Option<u64> {
        let key = self.claims.owner(frontend)?;
        let owner = fingerprint(&key.0, &key.1);
        self.tenure.is_current(frontend, epoch, owner, stamp).then_some(owner)
    }

    /// The frontends of a Service, as they were last planned, and what it asks for in vain.
    pub(crate) fn service(&self, namespace: &str, name: &str) -> Option<(Vec<FrontendKey>, Vec<String>)> {
        let key: Key = (namespace.into(), name.into());
        let planned = self.planned.get(&key)?;
        Some((planned.frontends.clone(), planned.unprogrammed.iter().map(ToString::to_string).collect()))
    }

    fn release<'a>(
        &mut self,
        key: &Key,
        frontends: impl Iterator<Item = &'a FrontendKey>,
        changes: &mut Changes,
    ) {
        for frontend in frontends {
            if let Some(waiting) = self.claims.release(frontend, key) {
                self.tenure.release(*frontend, fingerprint(&key.0, &key.1));
                changes.gone.push(*frontend);
                self.dirty.extend(waiting);
            }
        }
    }

    /// Answers what stays another's.
    fn claim(
        &mut self,
        key: &Key,
        planned: Vec<plan::PlannedFrontend>,
        changes: &mut Changes,
    ) -> Vec<FrontendKey> {
        let service = self.services.get(key).map(|service| service.created_s);
        let pod = || self.pods.get(key).map(|pod| pod.created_s);
        let created_s = service.or_else(pod).unwrap_or(i64::MAX);
        let mut lost = Vec::new();
        for plan::PlannedFrontend { kind, frontend } in planned {
            let claim = Claim { kind, created_s, service: key.clone() };
            let before = match self.claims.claim(frontend.key, claim) {
                Claimed::Lost => {
                    lost.push(frontend.key);
                    continue;
                }
                Claimed::WonFrom(other) => {
                    let before = fingerprint(&other.0, &other.1);
                    self.dirty.insert(other);
                    Some(before)
                }
                Claimed::Won => None,
            };
            self.tenure.claim(frontend.key, fingerprint(&key.0, &key.1), before);
            changes.wanted.push(frontend);
        }
        lost
    }

    fn note(&mut self, key: &Key, before: &Planned, now: &Planned) {
        if before.unprogrammed == now.unprogrammed {
            return;
        }
        self.unprogrammed_changed = true;
        if now.unprogrammed.is_empty() {
            return;
        }
        let note = words(&now.unprogrammed);
        tracing::warn!(namespace = %key.0, service = %key.1, "{note}");
        if let Some(about) = self.subject(key) {
            self.notices.push(Notice { about, reason: NOT_PROGRAMMED, note });
        }
    }

    /// A Service for events.
    pub(crate) fn subject(&self, key: &Key) -> Option<Subject> {
        self.services.get(key).map(|s| Subject { kind: "Service", key: key.clone(), uid: s.uid.clone() })
    }

    /// What users are to be told since this was asked for.
    pub(crate) fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// What Services ask for and do not get, if that has changed since it was taken.
    pub(crate) fn take_unprogrammed(&mut self) -> Option<Vec<(&Key, &[Unprogrammed])>> {
        let changed = std::mem::take(&mut self.unprogrammed_changed);
        let some = self.planned.iter().filter(|(_, planned)| !planned.unprogrammed.is_empty());
        changed.then(|| some.map(|(key, planned)| (key, &planned.unprogrammed[..])).collect())
    }

    /// Changes to the readiness of this node's pods; to be made known once the maps follow.
    pub(crate) fn take_ready_deltas(&mut self) -> Vec<(Box<str>, i32)> {
        std::mem::take(&mut self.ready_deltas)
    }

    /// The health checks to answer, if they have changed since they were taken.
    pub(crate) fn take_health_checks(&mut self) -> Option<HashMap<Key, HealthCheck>> {
        let checks = self.planned.iter().filter_map(|(key, planned)| Some((key.clone(), planned.health?)));
        std::mem::take(&mut self.health_changed).then(|| checks.collect())
    }

    /// Whether load balancers may send new connections to this node.
    pub(crate) fn eligible(&self) -> bool {
        self.eligible
    }

    /// One that the claims give to another Service is left out; of two that nobody claims (their source ranges leave out
    /// this node's own sockets) the first has it.
    fn external(&self) -> Vec<ExternalFrontend> {
        let mut all = BTreeMap::new();
        for (key, planned) in &self.planned {
            for frontend in &planned.external {
                if self.claims.owner(&frontend.key).is_none_or(|owner| owner == key) {
                    all.entry(frontend.key).or_insert(frontend);
                }
            }
        }
        all.into_values().cloned().collect()
    }

    fn announced(&self) -> BTreeSet<IpAddr> {
        let announced = self.planned.values().flat_map(|planned| &planned.announced);
        let nodes = || self.announcers.iter().map(|name| &**name);
        let ours = announced.filter(|a| plan::announcer(a, nodes()) == Some(&self.name));
        ours.map(|announced| announced.address).collect()
    }

    fn node_ports(&self) -> BTreeMap<NodePort, Key> {
        let planned = self.planned.iter();
        planned.flat_map(|(key, p)| p.node_ports.iter().map(move |port| (*port, key.clone()))).collect()
    }
}

/// As `kubectl` names it.
fn pod_key(object: &PodObject) -> Key {
    let (namespace, name) = key(object);
    (namespace, format!("pods/{name}").into())
}

fn key<K: Resource>(object: &K) -> Key {
    let meta = object.meta();
    (meta.namespace.as_deref().unwrap_or_default().into(), meta.name.as_deref().unwrap_or_default().into())
}
