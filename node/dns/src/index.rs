//! What the answers are made of: the cluster's Services and their endpoints. One index, three verbs (put, remove, reset).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::Ipv4Addr,
};

/// A Service's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// A named port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Empty for the only port of a Service.
    pub name: String,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// Number.
    pub port: u16,
}

/// What DNS reads of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    /// With an address of its own.
    ClusterIp {
        /// The address.
        address: Ipv4Addr,
        /// Its ports.
        ports: Vec<Port>,
    },
    /// `clusterIP: None`: its name stands for its ready endpoints.
    Headless,
    /// An alias.
    ExternalName(String),
}

/// One address behind a headless Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address.
    pub address: Ipv4Addr,
    /// The pod's hostname, where it has set one.
    pub hostname: Option<String>,
}

/// What DNS reads of an EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointSet {
    /// The ready ones.
    pub endpoints: Vec<Endpoint>,
    /// The ports that each has.
    pub ports: Vec<Port>,
}

/// The cluster as DNS sees it.
#[derive(Debug, Default)]
pub struct Index {
    services: BTreeMap<ServiceKey, Service>,
    /// By Service, then by the slice's name.
    slices: HashMap<ServiceKey, BTreeMap<String, EndpointSet>>,
    /// Which Services an address leads back to.
    by_address: HashMap<Ipv4Addr, BTreeSet<ServiceKey>>,
}

impl Index {
    /// Adds or replaces a Service.
    pub fn put_service(&mut self, key: ServiceKey, service: Service) {
        self.remove_service(&key);
        if let Service::ClusterIp { address, .. } = &service {
            self.link(*address, &key);
        }
        self.services.insert(key, service);
    }

    /// Takes a Service away.
    pub fn remove_service(&mut self, key: &ServiceKey) {
        if let Some(Service::ClusterIp { address, .. }) = self.services.remove(key) {
            self.unlink(address, key);
        }
    }

    /// Takes away every Service that `keep` does not hold, after a new list.
    pub fn retain_services(&mut self, keep: &BTreeSet<ServiceKey>) {
        let gone: Vec<ServiceKey> = self.services.keys().filter(|key| !keep.contains(key)).cloned().collect();
        gone.iter().for_each(|key| self.remove_service(key));
    }

    /// Adds or replaces a slice of a Service.
    pub fn put_slice(&mut self, key: ServiceKey, slice: &str, set: EndpointSet) {
        self.remove_slice(&key, slice);
        for endpoint in &set.endpoints {
            self.link(endpoint.address, &key);
        }
        self.slices.entry(key).or_default().insert(slice.to_string(), set);
    }

    /// Takes a slice away.
    pub fn remove_slice(&mut self, key: &ServiceKey, slice: &str) {
        let Some(slices) = self.slices.get_mut(key) else { return };
        let Some(gone) = slices.remove(slice) else { return };
        let still: BTreeSet<Ipv4Addr> =
            slices.values().flat_map(|set| &set.endpoints).map(|e| e.address).collect();
        if slices.is_empty() {
            self.slices.remove(key);
        }
        for endpoint in gone.endpoints.iter().filter(|endpoint| !still.contains(&endpoint.address)) {
            self.unlink(endpoint.address, key);
        }
    }

    /// Takes away every slice that `keep` does not hold, after a new list.
    pub fn retain_slices(&mut self, keep: &BTreeSet<(ServiceKey, String)>) {
        let all = self
            .slices
            .iter()
            .flat_map(|(key, slices)| slices.keys().map(|name| (key.clone(), name.clone())));
        let gone: Vec<_> = all.filter(|slice| !keep.contains(slice)).collect();
        gone.iter().for_each(|(key, name)| self.remove_slice(key, name));
    }

    /// A Service.
    pub fn service(&self, key: &ServiceKey) -> Option<&Service> {
        self.services.get(key)
    }

    /// Whether a namespace has a Service.
    pub fn has_namespace(&self, namespace: &str) -> bool {
        let from = ServiceKey { namespace: namespace.into(), name: String::new() };
        self.services.range(from..).next().is_some_and(|(key, _)| key.namespace == namespace)
    }

    /// The slices of a Service.
    pub fn endpoints(&self, key: &ServiceKey) -> impl Iterator<Item = &EndpointSet> {
        self.slices.get(key).into_iter().flat_map(BTreeMap::values)
    }

    /// The Services that an address is of, or behind.
    pub fn services_at(&self, address: Ipv4Addr) -> impl Iterator<Item = &ServiceKey> {
        self.by_address.get(&address).into_iter().flatten()
    }

    fn link(&mut self, address: Ipv4Addr, key: &ServiceKey) {
        self.by_address.entry(address).or_default().insert(key.clone());
    }

    fn unlink(&mut self, address: Ipv4Addr, key: &ServiceKey) {
        if let Some(keys) = self.by_address.get_mut(&address) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_address.remove(&address);
            }
        }
    }
}
