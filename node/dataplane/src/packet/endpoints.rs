//! Where addresses of this node are delivered, and what policies apply to them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use keelson_ebpf_common::{
    layout,
    net::Address6,
    packet::{Endpoint, endpoint_flag},
    policy::Id,
};
use keelson_sys::bpf::Map;
use zerocopy::{FromBytes, IntoBytes};

use super::{load::open, paces::Paces};
use crate::{
    Error,
    maps::pins::Pins,
    policy::{EndpointPolicy, PodKey, PodPolicy},
};

/// A pod of this node, as the network made it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PodEndpoint {
    /// Its address.
    pub address: IpAddr,
    /// The host's end of its link.
    pub link: String,
    /// Hardware address of the pod's end.
    pub mac: [u8; 6],
    /// Hardware address of the host's end.
    pub host_mac: [u8; 6],
    /// The host's end bounds the rate of what comes to it.
    pub shaped: bool,
    /// Its namespace and name.
    pub pod: PodKey,
    /// Its uid; empty if nobody remembers.
    pub uid: Box<str>,
}

/// Whether policies are known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Enforcing {
    /// They are not looked at: every pod is open.
    Never,
    /// Not yet: pods are as an earlier daemon left them, new ones are closed.
    Waiting,
    /// A pod that is not known is closed.
    Known,
}

/// The map, what it holds of pods, and what is known of those.
#[derive(Debug)]
pub(super) struct Endpoints {
    pub(super) map: Map,
    pub(super) paces: Paces,
    enforcing: Enforcing,
    pub(super) pods: BTreeMap<IpAddr, (PodEndpoint, u32)>,
    policies: BTreeMap<PodKey, PodPolicy>,
    /// Whether there is any policy: a pod that nobody knows yet is closed then.
    any: bool,
}

impl Endpoints {
    pub(super) fn open(pins: &Pins) -> Result<Self, Error> {
        let map = open(pins, &layout::ENDPOINTS)?;
        Ok(Self {
            map,
            paces: Paces::open(pins)?,
            enforcing: Enforcing::Never,
            pods: BTreeMap::new(),
            policies: BTreeMap::new(),
            any: true,
        })
    }

    /// Whether there is any policy.
    pub(super) fn expect_policies(&mut self, any: bool) {
        self.any = any;
    }

    /// From now on policies decide.
    pub(super) fn enforce(&mut self) {
        self.enforcing = Enforcing::Waiting;
    }

    /// The node's own addresses, which its stack takes.
    pub(super) fn put_node(&self, addresses: &[IpAddr]) -> Result<(), Error> {
        let (ifindex, mac, host_mac) = (Endpoint::NODE, [0; 6], [0; 6]);
        let node = Endpoint { ifindex, mac, host_mac, flags: 0, group: Id::NONE };
        addresses.iter().try_for_each(|address| self.write(*address, node))
    }

    pub(super) fn put(&mut self, pod: &PodEndpoint, ifindex: u32) -> Result<(), Error> {
        self.pods.insert(pod.address, (pod.clone(), ifindex));
        let (flags, group) = self.policy_of(pod, ifindex)?;
        let flags = flags | if pod.shaped { endpoint_flag::SHAPED } else { 0 };
        let flags = flags | if self.paces.has(ifindex)? { endpoint_flag::PACED } else { 0 };
        let (mac, host_mac) = (pod.mac, pod.host_mac);
        self.write(pod.address, Endpoint { ifindex, mac, host_mac, flags, group })
    }

    fn policy_of(&self, pod: &PodEndpoint, ifindex: u32) -> Result<(u32, Id), Error> {
        const OPEN: (u32, Id) = (0, Id::NONE);
        const CLOSED: (u32, Id) = (endpoint_flag::POLICED, Id::NONE);
        match self.enforcing {
            Enforcing::Never => Ok((0, Id::NONE)),
            Enforcing::Known => {
                let known = self.policies.get(&pod.pod);
                let known = known.filter(|(uid, _)| pod.uid.is_empty() || *uid == pod.uid);
                let unknown = if self.any { CLOSED } else { OPEN };
                Ok(known.map_or(unknown, |(_, policy)| encode(*policy)))
            }
            Enforcing::Waiting => {
                let there = self.map.lookup(Address6::from_ip(pod.address).as_bytes())?;
                let there = there.and_then(|bytes| Endpoint::read_from_bytes(&bytes).ok());
                let same = there.filter(|there| there.ifindex == ifindex && there.mac == pod.mac);
                Ok(same.map_or(CLOSED, |there| (there.flags & endpoint_flag::POLICED, there.group)))
            }
        }
    }

    /// What applies to a pod; `None`: it is not known any more.
    pub(super) fn set_policy(&mut self, key: &PodKey, known: Option<PodPolicy>) -> Result<(), Error> {
        match known {
            Some(known) => self.policies.insert(key.clone(), known),
            None => self.policies.remove(key),
        };
        let of_pod = self.pods.values().filter(|(pod, _)| pod.pod == *key);
        for (pod, ifindex) in of_pod.cloned().collect::<Vec<_>>() {
            self.put(&pod, ifindex)?;
        }
        Ok(())
    }

    /// What applies to all pods of this node; there are no others.
    pub(super) fn replace_policies(
        &mut self,
        policies: impl Iterator<Item = (PodKey, Option<PodPolicy>)>,
    ) -> Result<(), Error> {
        self.policies = policies.filter_map(|(key, known)| Some((key, known?))).collect();
        self.enforcing = Enforcing::Known;
        let pods: Vec<_> = self.pods.values().cloned().collect();
        pods.iter().try_for_each(|(pod, ifindex)| self.put(pod, *ifindex))
    }

    fn write(&self, address: IpAddr, endpoint: Endpoint) -> Result<(), Error> {
        Ok(self.map.update(Address6::from_ip(address).as_bytes(), endpoint.as_bytes())?)
    }

    pub(super) fn remove(&mut self, address: IpAddr) -> Result<(), Error> {
        if let Some((_, ifindex)) = self.pods.remove(&address) {
            self.paces.remove(ifindex)?;
        }
        Ok(self.map.delete(Address6::from_ip(address).as_bytes())?)
    }

    /// There are no bounds of other pods.
    pub(super) fn keep_paces(&self) -> Result<(), Error> {
        self.paces.keep_only(&self.pods.values().map(|(_, ifindex)| *ifindex).collect())
    }

    pub(super) fn keep_only(&mut self, addresses: impl Iterator<Item = IpAddr>) -> Result<(), Error> {
        let kept: BTreeSet<_> = addresses.map(Address6::from_ip).collect();
        let entries = self.map.entries()?;
        let found = entries.keys.chunks_exact(size_of::<Address6>());
        for address in found.filter_map(|bytes| Address6::read_from_bytes(bytes).ok()) {
            if !kept.contains(&address) {
                self.remove(address.to_ip())?;
            }
        }
        Ok(())
    }
}

fn encode(policy: EndpointPolicy) -> (u32, Id) {
    match policy {
        EndpointPolicy::Open => (0, Id::NONE),
        EndpointPolicy::Policed { group, ingress, egress } => {
            let flag = |set: bool, flag: u32| if set { flag } else { 0 };
            (flag(ingress, endpoint_flag::INGRESS) | flag(egress, endpoint_flag::EGRESS), group)
        }
    }
}
