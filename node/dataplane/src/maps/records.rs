//! Records of UDP sockets whose backend has stopped serving.
//!
//! A TCP client hears of it by a reset or a timeout of the kernel's; a UDP client would wait for ever.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::{IpAddr, Ipv4Addr},
};

use keelson_ebpf_common::{
    key, layout,
    net::{Address6, Port},
    value::{Connection, ConnectionSlot, Datagram},
};
use keelson_sys::{bpf::Map, sockets::UdpSocket};
use zerocopy::{FromBytes, IntoBytes};

use super::Dataplane;
use crate::{
    Error,
    plan::{Backend, FrontendKey, Protocol},
};

/// Backends that serve, by UDP frontend. Sockets of other frontends are nobody's business.
pub type ServingUdp = BTreeMap<FrontendKey, BTreeSet<Backend>>;

/// Sockets that were sent to a backend that serves no more. Some may be closed by now, or connected elsewhere.
#[derive(Debug, Default)]
pub struct StaleUdp {
    connected: HashMap<u64, Backend>,
    unconnected: HashSet<u64>,
}

impl StaleUdp {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.connected.is_empty() && self.unconnected.is_empty()
    }

    /// Whether this socket is one, and still talks to that backend.
    pub fn names(&self, socket: &UdpSocket) -> bool {
        match socket.peer {
            // No record says which protocol it is of; a TCP socket has another cookie.
            Some(peer) => self.connected.get(&socket.cookie) == Some(&peer),
            None => self.unconnected.contains(&socket.cookie),
        }
    }
}

impl Dataplane {
    /// The sockets whose backend is not among those that serve. Flows of unconnected sockets are forgotten with that.
    pub fn take_stale_udp(&self, serving: &ServingUdp) -> Result<StaleUdp, Error> {
        let mut stale = StaleUdp::default();
        if serving.is_empty() {
            return Ok(stale);
        }
        let slots = self.state_map(&layout::CONNECTIONS)?.entries()?.values;
        let slots = slots.chunks_exact(size_of::<ConnectionSlot>());
        for slot in slots.filter_map(|bytes| ConnectionSlot::read_from_bytes(bytes).ok()) {
            if slot.cookie != 0 {
                stale.consider(serving, slot.cookie, &slot.record);
            }
        }
        for (cookie, record) in elements::<u64, Connection>(&self.state_map(&layout::CONNECTIONS_SPILLED)?)? {
            stale.consider(serving, cookie, &record);
        }
        self.take_stale_flows(serving, &mut stale)?;
        Ok(stale)
    }

    fn take_stale_flows(&self, serving: &ServingUdp, stale: &mut StaleUdp) -> Result<(), Error> {
        let flows = self.state_map(&layout::DATAGRAMS)?;
        let mut gone = Vec::new();
        for (key, flow) in elements::<key::Datagram, Datagram>(&flows)? {
            let frontend = (flow.frontend, flow.frontend_port);
            if is_stale(serving, frontend, backend(key.backend, key.backend_port)) {
                stale.unconnected.insert(key.cookie);
                gone.push(key);
            }
        }
        let name = layout::DATAGRAMS.name;
        flows.delete_batch(gone.as_bytes()).map_err(|source| Error::Batch { name, source })
    }
}

impl StaleUdp {
    fn consider(&mut self, serving: &ServingUdp, cookie: u64, record: &Connection) {
        let backend = backend(record.backend, record.backend_port);
        if is_stale(serving, (record.frontend, record.frontend_port), backend) {
            self.connected.insert(cookie, backend);
        }
    }
}

fn is_stale(serving: &ServingUdp, (address, port): (Address6, Port), backend: Backend) -> bool {
    let address = match address.to_ip() {
        // As the programs look it up.
        IpAddr::V4(v4) if v4.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        other => other,
    };
    let frontend = FrontendKey { address, port: port.number(), protocol: Protocol::Udp };
    serving.get(&frontend).is_some_and(|serving| !serving.contains(&backend))
}

fn backend(address: Address6, port: Port) -> Backend {
    Backend::new(address.to_ip(), port.number())
}

fn elements<K: FromBytes, V: FromBytes>(map: &Map) -> Result<Vec<(K, V)>, Error> {
    let entries = map.entries()?;
    let keys = entries.keys.chunks_exact(size_of::<K>()).filter_map(|bytes| K::read_from_bytes(bytes).ok());
    let values =
        entries.values.chunks_exact(size_of::<V>()).filter_map(|bytes| V::read_from_bytes(bytes).ok());
    Ok(keys.zip(values).collect())
}
