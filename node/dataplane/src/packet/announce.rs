//! Load balancers' addresses that this node answers for on its wire: the table that the program at the uplink answers ARP from,
//! and the word to everybody that an address is here now.
//!
//! IPv4 alone: nobody answers neighbour solicitations for IPv6 addresses yet.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use keelson_ebpf_common::{layout, net::Address6, packet::Announced};
use keelson_sys::{
    bpf::Map,
    net::{Mac, hardware_address, link_index, send_frame},
};
use zerocopy::{FromBytes, IntoBytes};

use super::load::open;
use crate::{
    Error,
    maps::pins::{Pins, file},
};

/// The table, and the link whose neighbours are answered.
#[derive(Debug)]
pub(super) struct Announcements {
    map: Map,
    uplink: Option<Uplink>,
    held: BTreeSet<IpAddr>,
}

#[derive(Debug)]
struct Uplink {
    index: u32,
    mac: Mac,
}

impl Announcements {
    /// Without an uplink, or with one that has no hardware address, nothing is announced.
    pub(super) fn open(pins: &Pins, uplink: Option<&str>) -> Result<Self, Error> {
        let uplink = uplink.map(Uplink::find).transpose()?.flatten();
        Ok(Self { map: open(pins, &layout::ANNOUNCED)?, uplink, held: BTreeSet::new() })
    }

    /// Answers for exactly these from now on, and says so to everybody for those that are new.
    pub(super) fn replace(&mut self, wanted: &BTreeSet<IpAddr>) -> Result<(), Error> {
        let Some(uplink) = &self.uplink else { return Ok(()) };
        let value = Announced { mac: uplink.mac, pad: [0; 2] };
        let wanted: BTreeSet<IpAddr> = wanted.iter().copied().filter(IpAddr::is_ipv4).collect();
        for address in &wanted {
            self.map.update(Address6::from_ip(*address).as_bytes(), value.as_bytes())?;
        }
        let entries = self.map.entries()?;
        let found = entries.keys.chunks_exact(size_of::<Address6>());
        for address in found.filter_map(|bytes| Address6::read_from_bytes(bytes).ok()) {
            if !wanted.contains(&address.to_ip()) {
                self.map.delete(address.as_bytes())?;
            }
        }
        for address in wanted.difference(&self.held) {
            let IpAddr::V4(v4) = address else { continue };
            // Who missed it asks again when his entry is old.
            match send_frame(uplink.index, &announcement(uplink.mac, *v4)) {
                Ok(()) => tracing::info!(%address, "this node answers for it on the uplink"),
                Err(error) => {
                    tracing::warn!(%address, %error, "its neighbours were not told that it is here now")
                }
            }
        }
        self.held = wanted;
        Ok(())
    }
}

impl Uplink {
    fn find(name: &str) -> Result<Option<Self>, Error> {
        let looking = file("looking up the device", name.as_ref());
        let index = link_index(name).map_err(&looking)?;
        let index = index.ok_or_else(|| Error::NoDevice { name: name.to_owned() })?;
        let mac = hardware_address(name).map_err(&looking)?;
        Ok(mac.map(|mac| Self { index, mac }))
    }
}

/// An ARP announcement (RFC 5227, 3): a request for the address by whoever has it, to everybody.
fn announcement(mac: Mac, address: Ipv4Addr) -> Vec<u8> {
    const TO_ALL: Mac = [0xff; 6];
    const ARP: [u8; 2] = [0x08, 0x06];
    /// Ethernet, IPv4, their lengths, request.
    const HEADER: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 1];
    let ip = address.octets();
    [&TO_ALL[..], &mac, &ARP, &HEADER, &mac, &ip, &[0; 6], &ip].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_is_a_request_for_ones_own_address() {
        let frame = announcement([2, 0, 0, 0, 0, 1], Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(frame.len(), 42);
        assert_eq!(frame[..14], [255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 6]);
        assert_eq!((&frame[28..32], &frame[38..42]), (&[192, 0, 2, 1][..], &[192, 0, 2, 1][..]));
    }
}
