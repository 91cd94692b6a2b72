//! Services and their slices as last seen, and which Services must be planned again.
//!
//! Three verbs for each kind: apply, delete, and a reset from a fresh list (`Init`, `InitApply`.., `InitDone` of kube's
//! watcher), all of which end in a set of dirty Services. Does no I/O; a plan is made only when changes are taken.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kube::{Resource, runtime::watcher};

use crate::{
    objects::{ServiceObject, Slice, SliceObject},
    plan::{self, ExternalFrontend, Frontend, FrontendKey, Plan, ServiceView, Unprogrammed},
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
    /// All that is reached from outside, if any of it changed.
    pub(crate) external: Option<Vec<ExternalFrontend>>,
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
    /// What is reached from outside; of two Services with one frontend the first has it.
    external: BTreeMap<Key, Vec<ExternalFrontend>>,
    /// Whose a frontend is: an address may pass from one Service to the next before the first is seen to go.
    owners: HashMap<FrontendKey, Key>,
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
            external: BTreeMap::new(),
            owners: HashMap::new(),
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
        let mut external_changed = false;
        for key in std::mem::take(&mut self.dirty) {
            external_changed |= self.plan_one(key, &mut changes);
        }
        if external_changed {
            changes.external = Some(self.all_external());
        }
        let wanted: BTreeSet<_> = changes.wanted.iter().map(|frontend| frontend.key).collect();
        changes.gone.retain(|key| !wanted.contains(key));
        changes
    }

    /// Plans every Service: what the maps should hold, all told.
    pub(crate) fn take_all(&mut self) -> (Vec<Frontend>, Vec<ExternalFrontend>) {
        self.dirty.extend(self.services.keys().cloned());
        (self.take_changes().wanted, self.all_external())
    }

    fn all_external(&self) -> Vec<ExternalFrontend> {
        let mut all = BTreeMap::new();
        for frontend in self.external.values().flatten() {
            all.entry(frontend.key).or_insert(frontend);
        }
        all.into_values().cloned().collect()
    }

    /// Has these planned again with the next changes.
    pub(crate) fn touch(&mut self, frontends: impl Iterator<Item = FrontendKey>) {
        let owners: Vec<_> = frontends.filter_map(|key| self.owners.get(&key).cloned()).collect();
        self.dirty.extend(owners);
    }

    /// Whether what is reached from outside changed.
    fn plan_one(&mut self, key: Key, changes: &mut Changes) -> bool {
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
                changes.gone.push(frontend);
            }
        }
        self.owners.extend(now.iter().map(|&frontend| (frontend, key.clone())));
        changes.wanted.extend(plan.frontends);
        self.note_unprogrammed(&key, plan.unprogrammed);
        let before = if plan.external.is_empty() {
            self.external.remove(&key).unwrap_or_default()
        } else {
            self.external.insert(key.clone(), plan.external.clone()).unwrap_or_default()
        };
        if !now.is_empty() {
            self.planned.insert(key, now);
        }
        before != plan.external
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
