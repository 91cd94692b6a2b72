//! Records of sockets whose backend is no more.
//!
//! A UDP client would wait for ever for a backend that has stopped serving; a TCP client, whose backend ends its connections
//! as long as it lives, for one whose node is gone.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::{IpAddr, Ipv4Addr},
};

use keelson_ebpf_common::{
    key, layout,
    net::{Address6, Port},
    value::{Connection, ConnectionSlot, Datagram},
};
use keelson_sys::{bpf::Map, sockets::Socket};
use zerocopy::{FromBytes, IntoBytes};

use super::Dataplane;
use crate::{
    Error,
    plan::{Backend, FrontendKey, Protocol},
};

/// Backends that serve, by UDP frontend. Sockets of other frontends are nobody's business.
pub type ServingUdp = BTreeMap<FrontendKey, BTreeSet<Backend>>;

/// Endpoints that are gone, by TCP frontend.
pub type GoneTcp = BTreeMap<FrontendKey, BTreeSet<IpAddr>>;

/// TCP sockets whose endpoint is gone.
#[derive(Debug, Default)]
pub struct StaleTcp(HashMap<u64, Backend>);

impl StaleTcp {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this socket is one, and still talks to that backend.
    pub fn names(&self, socket: &Socket) -> bool {
        socket.peer.is_some_and(|peer| self.0.get(&socket.cookie) == Some(&peer))
    }
}

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
    pub fn names(&self, socket: &Socket) -> bool {
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
        self.each_connection(|cookie, record| stale.consider(serving, cookie, record))?;
        self.take_stale_flows(serving, &mut stale)?;
        Ok(stale)
    }

    /// TCP sockets that were sent to an endpoint which is gone. Some may be closed by now.
    pub fn connections_to(&self, gone: &GoneTcp) -> Result<StaleTcp, Error> {
        let mut stale = StaleTcp::default();
        self.each_connection(|cookie, record| {
            let backend = backend(record.backend, record.backend_port);
            let frontend = frontend((record.frontend, record.frontend_port), Protocol::Tcp);
            if gone.get(&frontend).is_some_and(|gone| gone.contains(&backend.ip())) {
                stale.0.insert(cookie, backend);
            }
        })?;
        Ok(stale)
    }

    fn each_connection(&self, mut see: impl FnMut(u64, &Connection)) -> Result<(), Error> {
        self.state_map(&layout::CONNECTIONS)?.visit(|_, bytes| {
            match ConnectionSlot::read_from_bytes(bytes) {
                Ok(slot) if slot.cookie != 0 => see(slot.cookie, &slot.record),
                _ => {}
            }
        })?;
        for (cookie, record) in elements::<u64, Connection>(&self.state_map(&layout::CONNECTIONS_SPILLED)?)? {
            see(cookie, &record);
        }
        Ok(())
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

fn is_stale(serving: &ServingUdp, key: (Address6, Port), backend: Backend) -> bool {
    serving.get(&frontend(key, Protocol::Udp)).is_some_and(|serving| !serving.contains(&backend))
}

/// As plans name it; a record does not say which protocol it is of.
fn frontend((address, port): (Address6, Port), protocol: Protocol) -> FrontendKey {
    let address = match address.to_ip() {
        // As the programs look it up.
        IpAddr::V4(v4) if v4.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        other => other,
    };
    FrontendKey { address, port: port.number(), protocol }
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
