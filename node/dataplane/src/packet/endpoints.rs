//! Where addresses of this node are delivered.

use std::{collections::BTreeSet, net::IpAddr};

use keelson_ebpf_common::{
    layout,
    net::Address6,
    packet::{Endpoint, endpoint_flag},
};
use keelson_sys::bpf::Map;
use zerocopy::{FromBytes, IntoBytes};

use super::load::open;
use crate::{Error, maps::pins::Pins};

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
}

/// The map.
#[derive(Debug)]
pub(super) struct Endpoints(Map);

impl Endpoints {
    pub(super) fn open(pins: &Pins) -> Result<Self, Error> {
        Ok(Self(open(pins, &layout::ENDPOINTS)?))
    }

    /// The node's own addresses, which its stack takes.
    pub(super) fn put_node(&self, addresses: &[IpAddr]) -> Result<(), Error> {
        let node = Endpoint { ifindex: Endpoint::NODE, mac: [0; 6], host_mac: [0; 6], flags: 0 };
        addresses.iter().try_for_each(|address| self.write(*address, node))
    }

    pub(super) fn put(&self, pod: &PodEndpoint, ifindex: u32) -> Result<(), Error> {
        let flags = if pod.shaped { endpoint_flag::SHAPED } else { 0 };
        self.write(pod.address, Endpoint { ifindex, mac: pod.mac, host_mac: pod.host_mac, flags })
    }

    fn write(&self, address: IpAddr, endpoint: Endpoint) -> Result<(), Error> {
        Ok(self.0.update(Address6::from_ip(address).as_bytes(), endpoint.as_bytes())?)
    }

    pub(super) fn remove(&self, address: IpAddr) -> Result<(), Error> {
        Ok(self.0.delete(Address6::from_ip(address).as_bytes())?)
    }

    pub(super) fn keep_only(&self, addresses: impl Iterator<Item = IpAddr>) -> Result<(), Error> {
        let kept: BTreeSet<_> = addresses.map(Address6::from_ip).collect();
        let entries = self.0.entries()?;
        let found = entries.keys.chunks_exact(size_of::<Address6>());
        for address in found.filter_map(|bytes| Address6::read_from_bytes(bytes).ok()) {
            if !kept.contains(&address) {
                self.0.delete(address.as_bytes())?;
            }
        }
        Ok(())
    }
}
