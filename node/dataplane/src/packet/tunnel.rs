//! What the programs know of the tunnel to nodes that are not adjacent: its device, and the addresses that the node has there.
//!
//! The device is made and removed by `node/cni`; until a daemon says otherwise the table is as an earlier one left it.

use std::net::IpAddr;

use keelson_ebpf_common::{
    layout,
    net::{Address4, Address6},
    packet::Tunnel,
};
use keelson_sys::bpf::Map;
use zerocopy::IntoBytes;

use super::load::open;
use crate::{Error, maps::pins::Pins};

/// The map, and the addresses that count as the node's.
#[derive(Debug)]
pub(super) struct TunnelEnd {
    map: Map,
    addresses: Vec<IpAddr>,
}

impl TunnelEnd {
    pub(super) fn open(pins: &Pins) -> Result<Self, Error> {
        Ok(Self { map: open(pins, &layout::TUNNEL)?, addresses: Vec::new() })
    }

    pub(super) fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Remembers these. Answers those that were remembered before and are none any more.
    pub(super) fn take_addresses(&mut self, addresses: &[IpAddr]) -> Vec<IpAddr> {
        let mut gone = std::mem::replace(&mut self.addresses, addresses.to_vec());
        gone.retain(|old| !addresses.contains(old));
        gone
    }

    /// The device's index and the node's addresses there, or that there is none.
    pub(super) fn set(&self, end: Option<(u32, &[IpAddr])>) -> Result<(), Error> {
        let mut value = Tunnel::NONE;
        let (ifindex, addresses) = end.unwrap_or((0, &[]));
        value.ifindex = ifindex;
        for address in addresses {
            match address {
                IpAddr::V4(v4) => value.node4 = Address4::new(*v4).0,
                IpAddr::V6(v6) => value.node6 = Address6::new(*v6).0,
            }
        }
        Ok(self.map.update(0_u32.as_bytes(), value.as_bytes())?)
    }
}
