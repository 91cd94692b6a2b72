//! Node ports. Which are taken follows from the Services themselves; a guard key that every transaction with node ports
//! rewrites keeps two of them from passing each other.

use super::{Allocation, Side};
use crate::{cache, cache::feed::NODE_PORT_GUARD, meta};
use bytes::Bytes;
use keelson_store::{Compare, Write};
use rand::Rng;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    ops::RangeInclusive,
    sync::{Arc, atomic::Ordering},
};

/// Upstream's default range.
pub const NODE_PORTS: RangeInclusive<u16> = 30_000..=32_767;

/// A port with its protocol; TCP and UDP may share a number.
pub type NodePort = (u16, String);

/// Why a port cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodePortError {
    /// Not in the range.
    #[error("provided port is not in the valid range. The range of valid ports is {}-{}", NODE_PORTS.start(), NODE_PORTS.end())]
    OutOfRange,
    /// Some Service has it.
    #[error("provided port is already allocated")]
    Taken,
    /// All are taken.
    #[error("range is full")]
    Full,
}

/// The ports that are taken, and the guard under which that is known.
pub struct NodePorts {
    taken: BTreeSet<NodePort>,
    guard: Side,
}

impl Allocation<'_> {
    /// The node ports of all other Services.
    pub fn node_ports(&self) -> NodePorts {
        // In this order: the Services taken after show all that was committed under the guard.
        let guard = self.caches.node_port_guard.load(Ordering::Acquire);
        let key: Arc<str> = NODE_PORT_GUARD.into();
        let compare = match guard {
            0 => Compare::Absent(key.clone()),
            revision => Compare::ModRevision(key.clone(), revision),
        };
        let write = Write::Put { key, value: Bytes::from_static(b"{}"), ttl: None };
        let mut taken = BTreeSet::new();
        if let Some(cache) = self.cache("", "v1", "services") {
            let state = cache.state();
            for entry in cache::range(&state.root, &cache.kind.range(None), None) {
                let own = entry.head.namespace() == self.namespace && entry.head.name() == self.name;
                if !own && mentions_node_port(entry.body()) {
                    taken.extend(ports_of(&entry.to_value()));
                }
            }
        }
        NodePorts { taken, guard: Side { compare: Some(compare), write } }
    }
}

/// Most Services have no node port: their bodies need not be parsed.
fn mentions_node_port(body: &[u8]) -> bool {
    body.windows(10).any(|window| window == b"\"nodePort\"")
}

/// The node ports of a Service.
fn ports_of(service: &Value) -> Vec<NodePort> {
    let ports = meta::items(service, &["spec", "ports"]).iter();
    let mut all: Vec<NodePort> = ports
        .filter_map(|port| {
            let number =
                u16::try_from(meta::number(port, &["nodePort"])?).ok().filter(|number| *number > 0)?;
            Some((number, meta::text(port, &["protocol"]).to_owned()))
        })
        .collect();
    let health = meta::number(service, &["spec", "healthCheckNodePort"]).unwrap_or_default();
    if let Some(number) = u16::try_from(health).ok().filter(|number| *number > 0) {
        all.push((number, "TCP".to_owned()));
    }
    all
}

impl NodePorts {
    /// Takes the port asked for, or any free one.
    pub fn take(&mut self, asked: Option<i64>, protocol: &str) -> Result<u16, NodePortError> {
        let number = match asked {
            Some(asked) => {
                let number = u16::try_from(asked).ok().filter(|number| NODE_PORTS.contains(number));
                let number = number.ok_or(NodePortError::OutOfRange)?;
                if self.taken.contains(&(number, protocol.to_owned())) {
                    return Err(NodePortError::Taken);
                }
                number
            }
            None => {
                let count = NODE_PORTS.end() - NODE_PORTS.start() + 1;
                let start = rand::rng().random_range(0..count);
                (0..count)
                    .map(|step| NODE_PORTS.start() + (start + step) % count)
                    .find(|number| !self.taken.iter().any(|(taken, _)| taken == number))
                    .ok_or(NodePortError::Full)?
            }
        };
        self.taken.insert((number, protocol.to_owned()));
        Ok(number)
    }

    /// The write that makes the allocation safe; exactly one a transaction.
    pub fn into_side(self) -> Side {
        self.guard
    }
}
