//! What the answers are made of: the cluster's Services and their endpoints. One index, three verbs (put, remove, retain).
//!
//! Holds only what a record can show. Does not own how objects arrive (`watch`) or what a name means (`answer`).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

/// Namespace and name, of a Service or of a slice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Namespace.
    pub namespace: Box<str>,
    /// Name.
    pub name: Box<str>,
}

impl Key {
    /// The key of a namespace and a name.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

/// The transport protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `TCP`, also where none is given.
    Tcp,
    /// `UDP`.
    Udp,
    /// `SCTP`.
    Sctp,
}

impl Protocol {
    /// Its label in the name of an SRV record (RFC 2782).
    pub fn label(self) -> &'static str {
        match self {
            Self::Tcp => "_tcp",
            Self::Udp => "_udp",
            Self::Sctp => "_sctp",
        }
    }
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Empty for the only port of a Service; such a port has no SRV record.
    pub name: Box<str>,
    /// Its protocol.
    pub protocol: Protocol,
    /// Number.
    pub number: u16,
}

/// What DNS reads of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    /// With addresses of its own, one of each family at most.
    ClusterIp {
        /// The addresses.
        addresses: Box<[IpAddr]>,
        /// Its ports.
        ports: Box<[Port]>,
    },
    /// `clusterIP: None`: its name stands for its ready endpoints.
    Headless,
    /// An alias.
    ExternalName(Box<str>),
}

/// One ready address behind a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address.
    pub address: IpAddr,
    /// The pod's hostname, where it has set one and names this Service as its subdomain.
    pub hostname: Option<Box<str>>,
}

/// What DNS reads of an EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointSet {
    /// The ready ones.
    pub endpoints: Box<[Endpoint]>,
    /// The ports that each has.
    pub ports: Box<[Port]>,
}

/// A Service's own object and its slices: either may be seen first.
#[derive(Debug, Default)]
struct Entry {
    service: Option<Service>,
    slices: BTreeMap<Box<str>, EndpointSet>,
}

impl Entry {
    fn addresses(&self) -> BTreeSet<IpAddr> {
        let own: &[IpAddr] = match &self.service {
            Some(Service::ClusterIp { addresses, .. }) => addresses,
            _ => &[],
        };
        let behind = self.slices.values().flat_map(|set| &set.endpoints).map(|endpoint| endpoint.address);
        own.iter().copied().chain(behind).collect()
    }
}

/// The cluster as DNS sees it.
#[derive(Debug, Default)]
pub struct Index {
    entries: BTreeMap<Arc<Key>, Entry>,
    /// Which Service a slice belongs to: its label may be changed.
    homes: HashMap<Key, Arc<Key>>,
    /// Which Services an address is of, or behind.
    by_address: HashMap<IpAddr, Vec<Arc<Key>>>,
    changes: u32,
}

impl Index {
    /// Adds or replaces a Service.
    pub fn put_service(&mut self, key: &Key, service: Service) {
        self.change(key, |entry| entry.service = Some(service));
    }

    /// Takes a Service away; its slices stay until they go themselves.
    pub fn remove_service(&mut self, key: &Key) {
        if self.service(key).is_some() {
            self.change(key, |entry| entry.service = None);
        }
    }

    /// Takes away every Service that `keep` does not hold, after a new list.
    pub fn retain_services(&mut self, keep: &BTreeSet<Key>) {
        let gone: Vec<_> = self.entries.keys().filter(|key| !keep.contains(&***key)).cloned().collect();
        gone.iter().for_each(|key| self.remove_service(key));
    }

    /// Adds or replaces a slice of the Service that is called `service`, in the slice's namespace.
    pub fn put_slice(&mut self, slice: &Key, service: &str, set: EndpointSet) {
        if self.homes.get(slice).is_some_and(|home| *home.name != *service) {
            self.remove_slice(slice);
        }
        let home = self.change(&Key::new(&slice.namespace, service), |entry| {
            entry.slices.insert(slice.name.clone(), set);
        });
        self.homes.insert(slice.clone(), home);
    }

    /// Takes a slice away.
    pub fn remove_slice(&mut self, slice: &Key) {
        if let Some(home) = self.homes.remove(slice) {
            self.change(&home, |entry| drop(entry.slices.remove(&slice.name)));
        }
    }

    /// Takes away every slice that `keep` does not hold, after a new list.
    pub fn retain_slices(&mut self, keep: &BTreeSet<Key>) {
        let gone: Vec<_> = self.homes.keys().filter(|slice| !keep.contains(*slice)).cloned().collect();
        gone.iter().for_each(|slice| self.remove_slice(slice));
    }

    /// A Service.
    pub fn service(&self, key: &Key) -> Option<&Service> {
        self.entries.get(key)?.service.as_ref()
    }

    /// Whether a namespace has a Service.
    pub fn has_namespace(&self, namespace: &str) -> bool {
        let in_it = self.entries.range(Key::new(namespace, "")..);
        in_it.take_while(|(key, _)| *key.namespace == *namespace).any(|(_, entry)| entry.service.is_some())
    }

    /// The slices of a Service.
    pub fn endpoints(&self, key: &Key) -> impl Iterator<Item = &EndpointSet> {
        self.entries.get(key).into_iter().flat_map(|entry| entry.slices.values())
    }

    /// The Services that an address is of, or behind.
    pub fn services_at(&self, address: IpAddr) -> impl Iterator<Item = &Key> {
        self.by_address.get(&address).into_iter().flatten().map(|key| &**key)
    }

    /// How many Services there are.
    pub fn services(&self) -> usize {
        self.entries.values().filter(|entry| entry.service.is_some()).count()
    }

    /// Grows with every change: the serial of the zone.
    pub fn changes(&self) -> u32 {
        self.changes
    }

    /// Changes an entry and, with it, where its addresses lead. Answers the one copy of its key.
    fn change(&mut self, key: &Key, edit: impl FnOnce(&mut Entry)) -> Arc<Key> {
        let key = match self.entries.get_key_value(key) {
            Some((key, _)) => key.clone(),
            None => Arc::new(key.clone()),
        };
        let entry = self.entries.entry(key.clone()).or_default();
        let before = entry.addresses();
        edit(entry);
        let after = entry.addresses();
        if entry.service.is_none() && entry.slices.is_empty() {
            self.entries.remove(&key);
        }
        for address in before.difference(&after) {
            if let Some(keys) = self.by_address.get_mut(address) {
                keys.retain(|other| *other != key);
                if keys.is_empty() {
                    self.by_address.remove(address);
                }
            }
        }
        for address in after.difference(&before) {
            self.by_address.entry(*address).or_default().push(key.clone());
        }
        self.changes = self.changes.wrapping_add(1);
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(addresses: &[&str]) -> EndpointSet {
        let endpoints =
            addresses.iter().map(|a| Endpoint { address: a.parse().unwrap(), hostname: None }).collect();
        EndpointSet { endpoints, ports: [].into() }
    }

    fn at(index: &Index, address: &str) -> Vec<String> {
        index.services_at(address.parse().unwrap()).map(|key| key.name.to_string()).collect()
    }

    #[test]
    fn an_address_leads_to_all_that_have_it_and_to_none_that_lost_it() {
        let mut index = Index::default();
        let (one, two) = (Key::new("shop", "db-1"), Key::new("shop", "db-2"));
        index.put_slice(&one, "db", set(&["10.244.1.5", "fd00::5"]));
        index.put_slice(&two, "db", set(&["10.244.1.5"]));
        index.put_slice(&Key::new("shop", "other-1"), "other", set(&["10.244.1.5"]));
        assert_eq!(at(&index, "10.244.1.5"), ["db", "other"]);
        index.remove_slice(&one);
        assert_eq!(at(&index, "10.244.1.5"), ["db", "other"], "another slice has it still");
        assert!(at(&index, "fd00::5").is_empty());
        index.remove_slice(&two);
        assert_eq!(at(&index, "10.244.1.5"), ["other"]);
    }

    #[test]
    fn a_slice_that_is_given_to_another_service_leaves_the_first() {
        let mut index = Index::default();
        let slice = Key::new("shop", "s");
        index.put_slice(&slice, "old", set(&["10.244.1.5"]));
        index.put_slice(&slice, "new", set(&["10.244.1.5"]));
        assert_eq!(at(&index, "10.244.1.5"), ["new"]);
        assert_eq!(index.endpoints(&Key::new("shop", "old")).count(), 0);
    }

    #[test]
    fn what_a_new_list_does_not_hold_is_gone() {
        let mut index = Index::default();
        let own = Service::ClusterIp { addresses: ["10.96.0.7".parse().unwrap()].into(), ports: [].into() };
        index.put_service(&Key::new("shop", "web"), own);
        index.put_service(&Key::new("shop", "db"), Service::Headless);
        index.put_slice(&Key::new("shop", "db-1"), "db", set(&["10.244.1.5"]));
        index.retain_services(&[Key::new("shop", "db")].into());
        assert!(at(&index, "10.96.0.7").is_empty());
        assert_eq!(index.services(), 1);
        index.retain_slices(&BTreeSet::new());
        assert!(at(&index, "10.244.1.5").is_empty());
        index.retain_services(&BTreeSet::new());
        assert!(!index.has_namespace("shop") && index.entries.is_empty());
    }

    #[test]
    fn slices_alone_make_no_namespace() {
        let mut index = Index::default();
        index.put_slice(&Key::new("shop", "db-1"), "db", set(&["10.244.1.5"]));
        assert!(!index.has_namespace("shop"));
        index.put_service(&Key::new("shop-2", "db"), Service::Headless);
        assert!(!index.has_namespace("shop") && index.has_namespace("shop-2"));
    }
}
