//! Pods, namespaces and policies as last seen, and what has changed since.
//!
//! As [`crate::index`] does for Services: apply, delete and a reset from a fresh list end in sets of what is dirty. No I/O.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use kube::{Resource, runtime::watcher};

use super::{
    labels::LabelSet,
    objects::{NamespaceObject, PodObject, PodView, PolicyObject, RuntimeClassObject},
    profiles::{PodId, ProfileId, Profiles},
    types::{PodKey, Policy},
};
use crate::{index::Listing, socket_lb::Wishes};

/// What one of the watches delivered.
#[derive(Debug)]
pub(crate) enum PolicySeen {
    Pod(watcher::Event<PodObject>),
    Namespace(watcher::Event<NamespaceObject>),
    Policy(watcher::Event<PolicyObject>),
    RuntimeClass(watcher::Event<RuntimeClassObject>),
}

/// What has to be looked at again.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    /// Namespaces whose labels changed, that came or went.
    pub(super) namespaces: BTreeSet<Box<str>>,
    /// Namespaces whose policies changed.
    pub(super) policies: BTreeSet<Box<str>>,
    /// Profiles that came, went, or whose pods did.
    pub(super) profiles: BTreeSet<ProfileId>,
    /// Addresses that others have now.
    pub(super) addresses: BTreeSet<IpAddr>,
    /// Pods that came, went, or changed in what matters here.
    pub(super) pods: BTreeSet<PodKey>,
}

/// A pod.
#[derive(Debug)]
pub(super) struct Pod {
    pub(super) key: PodKey,
    pub(super) uid: Box<str>,
    pub(super) profile: ProfileId,
    pub(super) addresses: Box<[IpAddr]>,
    pub(super) local: bool,
    /// The later it was seen as it is, the more.
    seen: u64,
}

/// A namespace, or what is known of one that is not there: pods and policies may be seen before.
#[derive(Debug, Default)]
pub(super) struct Namespace {
    pub(super) labels: Option<LabelSet>,
    pub(super) policies: BTreeMap<Box<str>, Policy>,
    pub(super) profiles: BTreeSet<ProfileId>,
}

/// Everything that is known of the API.
#[derive(Debug)]
pub(crate) struct Index {
    node: Box<str>,
    pub(super) namespaces: BTreeMap<Box<str>, Namespace>,
    pub(super) profiles: Profiles,
    pods: Vec<Option<Pod>>,
    free: Vec<PodId>,
    by_key: HashMap<PodKey, PodId>,
    /// Who has an address; more than one for the moment in which it passes on.
    addresses: BTreeSet<(IpAddr, PodId)>,
    seen: u64,
    dirty: Dirty,
    /// Uids of this node's pods that went since this was asked for.
    departed: Vec<Box<str>>,
    /// What annotations and RuntimeClasses say of sockets, and whether that has changed since it was asked for.
    wishes: (Wishes, bool),
    pods_list: Listing,
    namespaces_list: Listing,
    policies_list: Listing,
    classes_list: Listing,
}

impl Index {
    /// Of a node by its name.
    pub(crate) fn new(node: &str) -> Self {
        Self {
            node: node.into(),
            namespaces: BTreeMap::new(),
            profiles: Profiles::default(),
            pods: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::new(),
            addresses: BTreeSet::new(),
            seen: 0,
            dirty: Dirty::default(),
            departed: Vec::new(),
            wishes: (Wishes::default(), true),
            pods_list: Listing::default(),
            namespaces_list: Listing::default(),
            policies_list: Listing::default(),
            classes_list: Listing::default(),
        }
    }

    /// Whether everything was listed to the end: before, an absent object means nothing.
    pub(crate) fn complete(&self) -> bool {
        let lists = [&self.pods_list, &self.namespaces_list, &self.policies_list, &self.classes_list];
        lists.iter().all(|list| list.complete())
    }

    /// What changed since this was asked for.
    pub(crate) fn take_dirty(&mut self) -> Dirty {
        let dirty = std::mem::take(&mut self.dirty);
        for id in &dirty.profiles {
            let namespace = self.profiles.get(*id).map(|shared| shared.profile.namespace.clone());
            if let Some(namespace) = namespace
                && self.profiles.forget_unused(*id)
            {
                self.in_namespace(&namespace, |known| known.profiles.remove(id));
            }
        }
        dirty
    }

    /// Uids of this node's pods that went since this was asked for.
    pub(crate) fn take_departed(&mut self) -> Vec<Box<str>> {
        std::mem::take(&mut self.departed)
    }

    /// What annotations and RuntimeClasses say of sockets, if that has changed since this was asked for.
    pub(crate) fn take_wishes(&mut self) -> Option<Wishes> {
        std::mem::take(&mut self.wishes.1).then(|| self.wishes.0.clone())
    }

    /// Pods of this node about which they say what is no value, and what that is in words.
    pub(crate) fn unknown_wishes(&self) -> Vec<(PodKey, Box<str>, String)> {
        let (wishes, _) = &self.wishes;
        let local = self.pods.iter().flatten().filter(|pod| wishes.any_unknown() && pod.local);
        local.filter_map(|pod| Some((pod.key.clone(), pod.uid.clone(), wishes.unknown(&pod.key)?))).collect()
    }

    /// How many policies there are.
    pub(crate) fn policies(&self) -> usize {
        self.namespaces.values().map(|namespace| namespace.policies.len()).sum()
    }

    pub(super) fn pod(&self, id: PodId) -> Option<&Pod> {
        self.pods.get(id as usize)?.as_ref()
    }

    pub(super) fn pod_named(&self, key: &PodKey) -> Option<&Pod> {
        self.pod(*self.by_key.get(key)?)
    }

    /// Who has an address. Of several, who was seen last.
    pub(super) fn holder(&self, address: IpAddr) -> Option<&Pod> {
        let holders = self.addresses.range((address, 0)..=(address, PodId::MAX));
        holders.filter_map(|(_, id)| self.pod(*id)).max_by_key(|pod| pod.seen)
    }

    /// Addresses of pods within a range.
    pub(super) fn addresses_in(&self, range: &ipnet::IpNet) -> impl Iterator<Item = IpAddr> {
        let held = self.addresses.range((range.network(), 0)..=(range.broadcast(), PodId::MAX));
        held.map(|(address, _)| *address)
    }

    pub(crate) fn see(&mut self, seen: PolicySeen) {
        match seen {
            PolicySeen::Pod(event) => self.see_pod(event),
            PolicySeen::Namespace(event) => self.see_namespace(event),
            PolicySeen::Policy(event) => self.see_policy(event),
            PolicySeen::RuntimeClass(event) => self.see_class(event),
        }
    }

    fn see_pod(&mut self, event: watcher::Event<PodObject>) {
        match event {
            watcher::Event::Init => self.pods_list.begin(),
            watcher::Event::InitApply(object) => {
                self.pods_list.saw(key(&object));
                self.apply_pod(&object);
            }
            watcher::Event::InitDone => {
                let gone = self.pods_list.finish(self.by_key.keys());
                gone.iter().for_each(|key| self.lose_pod(key));
            }
            watcher::Event::Apply(object) => self.apply_pod(&object),
            watcher::Event::Delete(object) => self.lose_pod(&key(&object)),
        }
    }

    fn see_namespace(&mut self, event: watcher::Event<NamespaceObject>) {
        match event {
            watcher::Event::Init => self.namespaces_list.begin(),
            watcher::Event::InitApply(object) => {
                self.namespaces_list.saw(key(&object));
                self.apply_namespace(&object);
            }
            watcher::Event::InitDone => {
                let labelled = self.namespaces.iter().filter(|(_, known)| known.labels.is_some());
                let known: Vec<PodKey> = labelled.map(|(name, _)| (Box::default(), name.clone())).collect();
                let gone = self.namespaces_list.finish(known.iter());
                gone.iter().for_each(|key| self.lose_namespace(&key.1));
            }
            watcher::Event::Apply(object) => self.apply_namespace(&object),
            watcher::Event::Delete(object) => self.lose_namespace(&key(&object).1),
        }
    }

    fn see_policy(&mut self, event: watcher::Event<PolicyObject>) {
        match event {
            watcher::Event::Init => self.policies_list.begin(),
            watcher::Event::InitApply(object) => {
                self.policies_list.saw(key(&object));
                self.apply_policy(&object);
            }
            watcher::Event::InitDone => {
                let mut known: Vec<PodKey> = Vec::new();
                for (namespace, of_namespace) in &self.namespaces {
                    known.extend(of_namespace.policies.keys().map(|name| (namespace.clone(), name.clone())));
                }
                let gone = self.policies_list.finish(known.iter());
                gone.iter().for_each(|key| self.delete_policy(key));
            }
            watcher::Event::Apply(object) => self.apply_policy(&object),
            watcher::Event::Delete(object) => self.delete_policy(&key(&object)),
        }
    }

    fn see_class(&mut self, event: watcher::Event<RuntimeClassObject>) {
        let (wishes, changed) = &mut self.wishes;
        match event {
            watcher::Event::Init => self.classes_list.begin(),
            watcher::Event::InitApply(object) => {
                let key = key(&object);
                *changed |= wishes.set_class(&key.1, Some(object.socket_lb()));
                self.classes_list.saw(key);
            }
            watcher::Event::InitDone => {
                let known: Vec<PodKey> = wishes.classes().map(|name| (Box::default(), name.into())).collect();
                for (_, name) in self.classes_list.finish(known.iter()) {
                    *changed |= wishes.set_class(&name, None);
                }
            }
            watcher::Event::Apply(object) => {
                *changed |= wishes.set_class(&key(&object).1, Some(object.socket_lb()));
            }
            watcher::Event::Delete(object) => *changed |= wishes.set_class(&key(&object).1, None),
        }
    }

    fn apply_pod(&mut self, object: &PodObject) {
        let key = key(object);
        let Some(view) = object.project(&self.node) else { return self.delete_pod(&key) };
        let (said, class) = (object.socket_lb(&self.node), object.runtime_class(&self.node));
        self.wishes.1 |= self.wishes.0.set_pod(&key, said, class);
        if let Some(pod) = self.pod_named(&key) {
            let profile = self.profiles.get(pod.profile).map(|shared| &*shared.profile);
            if profile == Some(&view.profile)
                && (&pod.uid, &pod.addresses, pod.local) == (&view.uid, &view.addresses, view.local)
            {
                return;
            }
        }
        self.delete_pod(&key);
        self.insert_pod(key, view);
    }

    fn insert_pod(&mut self, key: PodKey, view: PodView) {
        let PodView { uid, profile, addresses, local } = view;
        let id = self.free.pop().unwrap_or(self.pods.len() as PodId);
        let namespace = profile.namespace.clone();
        let profile = self.profiles.join(profile, id, local);
        self.namespaces.entry(namespace).or_default().profiles.insert(profile);
        self.addresses.extend(addresses.iter().map(|address| (*address, id)));
        self.dirty.profiles.insert(profile);
        self.dirty.addresses.extend(addresses.iter().copied());
        self.dirty.pods.insert(key.clone());
        self.by_key.insert(key.clone(), id);
        self.seen += 1;
        let pod = Some(Pod { key, uid, profile, addresses, local, seen: self.seen });
        match self.pods.get_mut(id as usize) {
            Some(slot) => *slot = pod,
            None => self.pods.push(pod),
        }
    }

    /// The API has it no more.
    fn lose_pod(&mut self, key: &PodKey) {
        if let Some(pod) = self.pod_named(key).filter(|pod| pod.local) {
            let uid = pod.uid.clone();
            self.departed.push(uid);
        }
        self.wishes.1 |= self.wishes.0.set_pod(key, None, None);
        self.delete_pod(key);
    }

    fn delete_pod(&mut self, key: &PodKey) {
        let Some(id) = self.by_key.remove(key) else { return };
        let Some(pod) = self.pods[id as usize].take() else { return };
        self.free.push(id);
        self.profiles.leave(pod.profile, id, pod.local);
        for address in &pod.addresses {
            self.addresses.remove(&(*address, id));
        }
        self.dirty.profiles.insert(pod.profile);
        self.dirty.addresses.extend(pod.addresses.iter().copied());
        self.dirty.pods.insert(pod.key);
    }

    fn apply_namespace(&mut self, object: &NamespaceObject) {
        let (_, name) = key(object);
        self.wishes.1 |= self.wishes.0.set_namespace(&name, object.socket_lb());
        self.set_labels(&name, Some(object.project()));
    }

    fn lose_namespace(&mut self, name: &str) {
        self.wishes.1 |= self.wishes.0.set_namespace(name, None);
        self.set_labels(name, None);
    }

    fn set_labels(&mut self, name: &str, labels: Option<LabelSet>) {
        if self.in_namespace(name, |known| std::mem::replace(&mut known.labels, labels.clone()) != labels) {
            self.dirty.namespaces.insert(name.into());
        }
    }

    fn apply_policy(&mut self, object: &PolicyObject) {
        let (namespace, name) = key(object);
        let policy = object.compile(&namespace);
        let changed = self.in_namespace(&namespace, |known| {
            let changed = known.policies.get(&name) != Some(&policy);
            known.policies.insert(name, policy);
            changed
        });
        if changed {
            self.dirty.policies.insert(namespace);
        }
    }

    fn delete_policy(&mut self, (namespace, name): &PodKey) {
        if self.in_namespace(namespace, |known| known.policies.remove(name).is_some()) {
            self.dirty.policies.insert(namespace.clone());
        }
    }

    /// Changes a namespace; one of which nothing is known afterwards is forgotten.
    fn in_namespace<T>(&mut self, name: &str, act: impl FnOnce(&mut Namespace) -> T) -> T {
        let known = self.namespaces.entry(name.into()).or_default();
        let done = act(known);
        if known.labels.is_none() && known.policies.is_empty() && known.profiles.is_empty() {
            self.namespaces.remove(name);
        }
        done
    }
}

fn key<K: Resource>(object: &K) -> PodKey {
    let metadata = object.meta();
    let text = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
    (text(&metadata.namespace), text(&metadata.name))
}
