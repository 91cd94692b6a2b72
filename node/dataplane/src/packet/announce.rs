//! Load balancers' addresses that this node answers for on its wire: the table that the program at the uplink answers ARP and
//! neighbour solicitations from, and the word to everybody that an address is here now.
//!
//! Solicitations are sent to a group of the address's last bits, which the uplink has to listen to, and switches to know of
//! (RFC 4861, 7.2.1; RFC 2710): this process joins it. Accepted flaw: while no daemon runs, who has never spoken with the address
//! may ask in vain; who has asks the node itself.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
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
    groups: Groups,
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
        Ok(Self {
            map: open(pins, &layout::ANNOUNCED)?,
            uplink,
            held: BTreeSet::new(),
            groups: Groups::default(),
        })
    }

    /// Answers for exactly these from now on, and says so to everybody for those that are new.
    pub(super) fn replace(&mut self, wanted: &BTreeSet<IpAddr>) -> Result<(), Error> {
        let Some(uplink) = &self.uplink else { return Ok(()) };
        let value = Announced { mac: uplink.mac, pad: [0; 2] };
        let wanted = wanted.clone();
        self.groups.replace(uplink.index, &wanted);
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
            let frame = match address {
                IpAddr::V4(v4) => announcement(uplink.mac, *v4),
                IpAddr::V6(v6) => advertisement(uplink.mac, *v6),
            };
            // Who missed it asks again when his entry is old.
            match send_frame(uplink.index, &frame) {
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

/// A neighbour advertisement that nobody asked for (RFC 4861, 7.2.6), to all nodes: it counts more than what they knew.
fn advertisement(mac: Mac, address: Ipv6Addr) -> Vec<u8> {
    const TO_ALL: Mac = [0x33, 0x33, 0, 0, 0, 1];
    const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    /// IPv6, 32 bytes of ICMPv6 that has passed no router.
    const HEADER: [u8; 8] = [0x60, 0, 0, 0, 0, 32, 58, 255];
    let (from, to) = (address.octets(), ALL_NODES.octets());
    // Type, code and checksum, the flag "override", the address; the option of a hardware address.
    let mut icmp = [&[136, 0, 0, 0, 0x20, 0, 0, 0][..], &from, &[2, 1], &mac].concat();
    let pseudo = [&from[..], &to, &[0, 0, 0, 32, 0, 0, 0, 58], &icmp].concat();
    icmp[2..4].copy_from_slice(&checksum(&pseudo).to_be_bytes());
    [&TO_ALL[..], &mac, &[0x86, 0xdd], &HEADER, &from, &to, &icmp].concat()
}

/// The Internet checksum (RFC 1071) of an even number of bytes, fewer than 65,536.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let once = (sum & 0xffff) + (sum >> 16);
    !((once & 0xffff) + (once >> 16)) as u16
}

/// The groups in which solicitations for the held addresses are sent.
#[derive(Debug, Default)]
struct Groups {
    /// Joined groups are its, and go with it.
    socket: Option<UdpSocket>,
    joined: BTreeSet<Ipv6Addr>,
}

impl Groups {
    /// Listens to exactly those of these addresses. A link without a filter hears all of them anyway.
    fn replace(&mut self, uplink: u32, addresses: &BTreeSet<IpAddr>) {
        let wanted: BTreeSet<Ipv6Addr> = addresses
            .iter()
            .filter_map(|address| match address {
                IpAddr::V6(v6) => Some(solicited_node(*v6)),
                IpAddr::V4(_) => None,
            })
            .collect();
        for group in wanted.difference(&self.joined.clone()) {
            match self.join(uplink, group) {
                Ok(()) => drop(self.joined.insert(*group)),
                Err(error) => tracing::error!(
                    %group, %error,
                    "the uplink does not listen to it: IPv6 addresses whose neighbours ask there may not be found"
                ),
            }
        }
        let gone: Vec<Ipv6Addr> = self.joined.difference(&wanted).copied().collect();
        for group in gone {
            if let Some(socket) = &self.socket
                && let Err(error) = socket.leave_multicast_v6(&group, uplink)
            {
                tracing::warn!(%group, %error, "the uplink goes on to listen to it");
            }
            self.joined.remove(&group);
        }
    }

    fn join(&mut self, uplink: u32, group: &Ipv6Addr) -> io::Result<()> {
        let socket = match &self.socket {
            Some(socket) => socket,
            // Only what it has joined counts: no datagram is ever for its port.
            None => self.socket.insert(UdpSocket::bind((Ipv6Addr::LOCALHOST, 0))?),
        };
        socket.join_multicast_v6(group, uplink)
    }
}

/// RFC 4291, 2.7.1.
fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_announced_is_ones_own_address() {
        let frame = announcement([2, 0, 0, 0, 0, 1], Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(frame.len(), 42);
        assert_eq!(frame[..14], [255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 6]);
        let six = advertisement([2, 0, 0, 0, 0, 1], "2001:db8::7".parse().unwrap());
        assert_eq!((six.len(), &six[..6], six[21], six[54]), (86, &[0x33, 0x33, 0, 0, 0, 1][..], 255, 136));
        let summed = [&six[22..54], &[0, 0, 0, 32, 0, 0, 0, 58], &six[54..]].concat();
        assert_eq!(checksum(&summed), 0, "with its checksum it sums up to nothing");
        assert_eq!(six[80..], [2, 0, 0, 0, 0, 1]);
        let group = solicited_node("2001:db8::4:12ab:cdef".parse().unwrap());
        assert_eq!(group.to_string(), "ff02::1:ffab:cdef");
        assert_eq!((&frame[28..32], &frame[38..42]), (&[192, 0, 2, 1][..], &[192, 0, 2, 1][..]));
    }
}
