//! Services and their slices as last seen, and which Services must be planned again.
//!
//! Three verbs for each kind: apply, delete, and a reset from a fresh list (`Init`, `InitApply`.., `InitDone` of kube's
//! watcher), all of which end in a set of dirty Services. Does no I/O; a plan is made only when changes are taken.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kube::{Resource, runtime::watcher};

use crate::{
    flows::{PortName, Tenure, fingerprint},
    objects::{ServiceObject, Slice, SliceObject},
    plan::{self, Frontend, FrontendKey, Plan, ServiceView, Unprogrammed},
};

/// Namespace and name.
pub(crate) type Key = (Box<str>, Box<str>);

/// What one of the watches delivered.
#[derive(Debug)]
pub(crate) enum Seen {
    Service(watcher::Event<ServiceObject>),
    Slice(watcher::Event<SliceObject>),
}

/// What to do to the maps.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Changes {
    pub(crate) gone: Vec<FrontendKey>,
    pub(crate) wanted: Vec<Frontend>,
}

/// Everything that is known of the API.
#[derive(Debug)]
pub(crate) struct Index {
    node: Box<str>,
    services: BTreeMap<Key, ServiceView>,
    /// Slices by Service, then by their own name. Both in one namespace.
    slices: BTreeMap<Key, BTreeMap<Box<str>, Slice>>,
    /// The Service of each slice: a slice may be given to another.
    homes: BTreeMap<Key, Box<str>>,
    planned: BTreeMap<Key, Vec<FrontendKey>>,
    /// Whose a frontend is: an address may pass from one Service to the next before the first is seen to go.
    owners: HashMap<FrontendKey, Key>,
    /// Whose a frontend was before.
    pub(crate) tenure: Tenure,
    dirty: BTreeSet<Key>,
    unprogrammed: BTreeMap<Key, Vec<Unprogrammed>>,
    unprogrammed_changed: bool,
    /// Changes to the number of slices that give a pod of this node as ready.
    ready_deltas: Vec<(Box<str>, i32)>,
    services_list: Listing,
    slices_list: Listing,
}

/// Where a watch is with its list.
#[derive(Debug, Default)]
struct Listing {
    complete: bool,
    seen: BTreeSet<Key>,
}

impl Index {
    pub(crate) fn new(node: &str) -> Self {
        Self {
            node: node.into(),
            services: BTreeMap::new(),
            slices: BTreeMap::new(),
            homes: BTreeMap::new(),
            planned: BTreeMap::new(),
            owners: HashMap::new(),
            tenure: Tenure::default(),
            dirty: BTreeSet::new(),
            unprogrammed: BTreeMap::new(),
            unprogrammed_changed: false,
            ready_deltas: Vec::new(),
            services_list: Listing::default(),
            slices_list: Listing::default(),
        }
    }

    /// Whether both kinds were listed to the end: before, an absent object means nothing.
    pub(crate) fn complete(&self) -> bool {
        self.services_list.complete && self.slices_list.complete
    }

    pub(crate) fn see(&mut self, seen: Seen) {
        match seen {
            Seen::Service(event) => self.see_service(event),
            Seen::Slice(event) => self.see_slice(event),
        }
    }

    fn see_service(&mut self, event: watcher::Event<ServiceObject>) {
        match event {
            watcher::Event::Init => self.services_list.seen.clear(),
            watcher::Event::InitApply(object) => {
                self.services_list.seen.insert(key(&object));
                self.apply_service(&object);
            }
            watcher::Event::InitDone => {
                let listed = self.services_list.finish();
                let gone: Vec<_> =
                    self.services.keys().filter(|key| !listed.contains(*key)).cloned().collect();
                gone.iter().for_each(|key| self.delete_service(key));
            }
            watcher::Event::Apply(object) => self.apply_service(&object),
            watcher::Event::Delete(object) => self.delete_service(&key(&object)),
        }
    }

    fn see_slice(&mut self, event: watcher::Event<SliceObject>) {
        match event {
            watcher::Event::Init => self.slices_list.seen.clear(),
            watcher::Event::InitApply(object) => {
                self.slices_list.seen.insert(key(&object));
                self.apply_slice(&object);
            }
            watcher::Event::InitDone => {
                let listed = self.slices_list.finish();
                let gone: Vec<_> = self.homes.keys().filter(|key| !listed.contains(*key)).cloned().collect();
                gone.iter().for_each(|key| self.delete_slice(key));
            }
            watcher::Event::Apply(object) => self.apply_slice(&object),
            watcher::Event::Delete(object) => self.delete_slice(&key(&object)),
        }
    }

    fn apply_service(&mut self, object: &ServiceObject) {
        let (key, view) = (key(object), object.project());
        if self.services.get(&key) != Some(&view) {
            self.services.insert(key.clone(), view);
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
        let Some(slice) = object.project(&self.node) else {
            return self.delete_slice(&(namespace, name));
        };
        if self.homes.get(&(namespace.clone(), name.clone())).is_some_and(|home| *home != slice.service) {
            self.delete_slice(&(namespace.clone(), name.clone()));
        }
        let service = (namespace.clone(), slice.service.clone());
        self.homes.insert((namespace, name.clone()), slice.service.clone());
        self.ready_deltas.extend(slice.ready_here.iter().map(|uid| (uid.clone(), 1)));
        let old = self.slices.entry(service.clone()).or_default().insert(name, slice);
        self.ready_deltas.extend(old.into_iter().flat_map(|old| old.ready_here).map(|uid| (uid, -1)));
        self.dirty.insert(service);
    }

    fn delete_slice(&mut self, key: &Key) {
        let Some(home) = self.homes.remove(key) else { return };
        let service = (key.0.clone(), home);
        if let Some(slices) = self.slices.get_mut(&service) {
            let old = slices.remove(&key.1);
            self.ready_deltas.extend(old.into_iter().flat_map(|old| old.ready_here).map(|uid| (uid, -1)));
            if slices.is_empty() {
                self.slices.remove(&service);
            }
        }
        self.dirty.insert(service);
    }

    /// Plans every Service that changed since.
    pub(crate) fn take_changes(&mut self) -> Changes {
        let mut changes = Changes::default();
        for key in std::mem::take(&mut self.dirty) {
            self.plan_one(key, &mut changes);
        }
        let wanted: BTreeSet<_> = changes.wanted.iter().map(|frontend| frontend.key).collect();
        changes.gone.retain(|key| !wanted.contains(key));
        changes
    }

    /// Plans every Service: what the maps should hold, all told.
    pub(crate) fn take_all(&mut self) -> Vec<Frontend> {
        self.dirty.extend(self.services.keys().cloned());
        self.take_changes().wanted
    }

    /// Has these planned again with the next changes.
    pub(crate) fn touch(&mut self, frontends: impl Iterator<Item = FrontendKey>) {
        let owners: Vec<_> = frontends.filter_map(|key| self.owners.get(&key).cloned()).collect();
        self.dirty.extend(owners);
    }

    fn plan_one(&mut self, key: Key, changes: &mut Changes) {
        let plan = match self.services.get(&key) {
            Some(view) => plan::plan(
                view,
                self.slices.get(&key).into_iter().flat_map(BTreeMap::values).map(|s| &s.view),
            ),
            None => Plan::default(),
        };
        let now: Vec<_> = plan.frontends.iter().map(|frontend| frontend.key).collect();
        for frontend in self.planned.remove(&key).unwrap_or_default() {
            if !now.contains(&frontend) && self.owners.get(&frontend) == Some(&key) {
                self.owners.remove(&frontend);
                self.tenure.release(frontend, fingerprint(&key.0, &key.1));
                changes.gone.push(frontend);
            }
        }
        for &frontend in &now {
            let before =
                self.owners.insert(frontend, key.clone()).map(|before| fingerprint(&before.0, &before.1));
            self.tenure.claim(frontend, fingerprint(&key.0, &key.1), before);
        }
        changes.wanted.extend(plan.frontends);
        self.note_unprogrammed(&key, plan.unprogrammed);
        if !now.is_empty() {
            self.planned.insert(key, now);
        }
    }

    /// Whose a frontend is.
    pub(crate) fn port_name(&self, frontend: &FrontendKey) -> Option<PortName> {
        let key = self.owners.get(frontend)?;
        let ports = self.services.get(key).map_or(&[][..], |service| &service.ports);
        let port = ports.iter().find(|p| p.number == frontend.port && p.protocol == Some(frontend.protocol));
        let port = port.map(|port| port.name.clone()).unwrap_or_default();
        Some(PortName { namespace: key.0.clone(), service: key.1.clone(), port })
    }

    /// The fingerprint of whoever has a frontend, if he had it in an epoch already; see [`Tenure::is_current`].
    pub(crate) fn owner_in(&self, frontend: &FrontendKey, epoch: u32, stamp: Option<u64>) -> Option<u64> {
        let key = self.owners.get(frontend)?;
        let owner = fingerprint(&key.0, &key.1);
        self.tenure.is_current(frontend, epoch, owner, stamp).then_some(owner)
    }

    /// The frontends of a Service, as they were last planned, and what it asks for in vain.
    pub(crate) fn service(&self, namespace: &str, name: &str) -> Option<(Vec<FrontendKey>, Vec<String>)> {
        let key: Key = (namespace.into(), name.into());
        self.services.contains_key(&key).then(|| {
            let unprogrammed = self.unprogrammed.get(&key).into_iter().flatten().map(ToString::to_string);
            (self.planned.get(&key).cloned().unwrap_or_default(), unprogrammed.collect())
        })
    }

    fn note_unprogrammed(&mut self, key: &Key, what: Vec<Unprogrammed>) {
        if what.is_empty() {
            self.unprogrammed_changed |= self.unprogrammed.remove(key).is_some();
        } else if self.unprogrammed.get(key) != Some(&what) {
            let words: Vec<_> = what.iter().map(ToString::to_string).collect();
            tracing::warn!(namespace = %key.0, service = %key.1, "{}", words.join("; "));
            self.unprogrammed.insert(key.clone(), what);
            self.unprogrammed_changed = true;
        }
    }

    /// What Services ask for and do not get, if that has changed since it was taken.
    pub(crate) fn take_unprogrammed(&mut self) -> Option<&BTreeMap<Key, Vec<Unprogrammed>>> {
        std::mem::take(&mut self.unprogrammed_changed).then_some(&self.unprogrammed)
    }

    /// Changes to the readiness of this node's pods; to be made known once the maps follow.
    pub(crate) fn take_ready_deltas(&mut self) -> Vec<(Box<str>, i32)> {
        std::mem::take(&mut self.ready_deltas)
    }
}

impl Listing {
    fn finish(&mut self) -> BTreeSet<Key> {
        self.complete = true;
        std::mem::take(&mut self.seen)
    }
}

fn key<K: Resource>(object: &K) -> Key {
    let meta = object.meta();
    (meta.namespace.as_deref().unwrap_or_default().into(), meta.name.as_deref().unwrap_or_default().into())
}

#[cfg(test)]
mod tests;
