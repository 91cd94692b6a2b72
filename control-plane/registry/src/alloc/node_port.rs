//! Node ports. Which are taken follows from the Services themselves; a guard key that every transaction with node ports
//! rewrites keeps two of them from passing each other.
//!
//! As upstream, a number belongs to one Service whatever the protocol; within it, ports of several protocols share it.

use super::{Allocation, Side};
use crate::{cache, cache::feed::NODE_PORT_GUARD, meta};
use bytes::Bytes;
use keelson_store::{Compare, Write};
use rand::Rng;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fmt,
    str::FromStr,
    sync::{Arc, atomic::Ordering},
};

const BAND_MIN: u16 = 16;
const BAND_MAX: u16 = 128;
/// One port in so many is kept for those who ask for a certain one.
const BAND_STEP: u16 = 32;

/// The ports that Services may have on every node, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodePortRange {
    first: u16,
    last: u16,
}

/// Upstream's default.
impl Default for NodePortRange {
    fn default() -> Self {
        Self { first: 30_000, last: 32_767 }
    }
}

/// Not a range of ports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a range of ports such as 30000-32767")]
pub struct NotAPortRange(String);

impl FromStr for NodePortRange {
    type Err = NotAPortRange;

    fn from_str(text: &str) -> Result<Self, NotAPortRange> {
        let ends = text.split_once('-').and_then(|(first, last)| {
            Some((first.trim().parse::<u16>().ok()?, last.trim().parse::<u16>().ok()?))
        });
        match ends {
            Some((first, last)) if first > 0 && first <= last => Ok(Self { first, last }),
            _ => Err(NotAPortRange(text.to_owned())),
        }
    }
}

impl fmt::Display for NodePortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl NodePortRange {
    /// Whether the port is in it.
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    /// The dynamic band, then the static one, from which ports are given only when the other is full (KEP-3668):
    /// (first, count).
    fn bands(self) -> [(u16, u16); 2] {
        let count = self.last - self.first + 1;
        let kept = if count <= BAND_MIN { 0 } else { (count / BAND_STEP).clamp(BAND_MIN, BAND_MAX) };
        [(self.first + kept, count - kept), (self.first, kept)]
    }
}

/// Why a port cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodePortError {
    /// Not in the range.
    #[error("provided port is not in the valid range. The range of valid ports is {0}")]
    OutOfRange(NodePortRange),
    /// Some Service has it.
    #[error("provided port is already allocated")]
    Taken,
    /// All are taken.
    #[error("range is full")]
    Full,
}

/// The ports that are taken, and the guard under which that is known.
pub struct NodePorts {
    range: NodePortRange,
    taken: BTreeSet<u16>,
    own: BTreeSet<u16>,
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
                if !own && may_hold_ports(&cache.kind, &entry.head) {
                    taken.extend(ports_of(&entry.to_value()));
                }
            }
        }
        let guard = Side { compare: Some(compare), write };
        NodePorts { range: self.config.node_ports, taken, own: BTreeSet::new(), guard }
    }
}

/// Most Services are of types without node ports: their bodies need not be parsed.
pub(crate) fn may_hold_ports(kind: &crate::Kind, head: &crate::Head) -> bool {
    let at = kind.selectable_fields.iter().position(|field| field == "spec.type");
    let kind = at.and_then(|at| head.fields.get(at));
    kind.is_none_or(|kind| matches!(&**kind, "NodePort" | "LoadBalancer"))
}

/// The numbers that a Service holds, that of its health check included. Only some types hold any.
pub(crate) fn ports_of(service: &Value) -> BTreeSet<u16> {
    if !matches!(meta::text(service, &["spec", "type"]), "NodePort" | "LoadBalancer") {
        return BTreeSet::new();
    }
    let ports = meta::items(service, &["spec", "ports"]).iter();
    let numbers = ports.filter_map(|port| meta::number(port, &["nodePort"]));
    let health = meta::number(service, &["spec", "healthCheckNodePort"]);
    let all = numbers.chain(health).filter_map(|number| u16::try_from(number).ok());
    all.filter(|number| *number > 0).collect()
}

impl NodePorts {
    /// Takes the port asked for, which the Service may have taken already for another protocol.
    pub fn take(&mut self, asked: i64) -> Result<u16, NodePortError> {
        let number = u16::try_from(asked).ok().filter(|number| self.range.contains(*number));
        let number = number.ok_or(NodePortError::OutOfRange(self.range))?;
        if self.taken.contains(&number) {
            return Err(NodePortError::Taken);
        }
        self.own.insert(number);
        Ok(number)
    }

    /// Takes the port asked for, for a use that shares it with none of the Service's ports.
    pub fn take_alone(&mut self, asked: i64) -> Result<u16, NodePortError> {
        match u16::try_from(asked) {
            Ok(number) if self.own.contains(&number) => Err(NodePortError::Taken),
            _ => self.take(asked),
        }
    }

    /// Takes any port that is free, of the dynamic band as long as it has one.
    pub fn take_any(&mut self) -> Result<u16, NodePortError> {
        let number = self.range.bands().into_iter().find_map(|(first, count)| self.free_in(first, count));
        let number = number.ok_or(NodePortError::Full)?;
        self.own.insert(number);
        Ok(number)
    }

    /// A port that the Service keeps; nobody else can have it.
    pub fn keep(&mut self, number: u16) {
        self.own.insert(number);
    }

    /// From a random place round to it again.
    fn free_in(&self, first: u16, count: u16) -> Option<u16> {
        if count == 0 {
            return None;
        }
        let start = u32::from(rand::rng().random_range(0..count));
        (0..u32::from(count))
            .filter_map(|step| u16::try_from(u32::from(first) + (start + step) % u32::from(count)).ok())
            .find(|number| !self.taken.contains(number) && !self.own.contains(number))
    }

    /// The write that makes the allocation safe; exactly one a transaction.
    pub fn into_side(self) -> Side {
        self.guard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_ports_are_kept_for_those_who_ask() {
        let rows = [
            ("30000-32767", [(30_086, 2_682), (30_000, 86)]),
            ("30000-30127", [(30_016, 112), (30_000, 16)]),
            ("30000-30015", [(30_000, 16), (30_000, 0)]),
            ("1-65535", [(129, 65_407), (1, 128)]),
        ];
        for (range, expected) in rows {
            assert_eq!(range.parse::<NodePortRange>().expect("a range").bands(), expected, "{range}");
        }
    }

    #[test]
    fn ranges_read_as_they_are_written() {
        assert_eq!(NodePortRange::default().to_string(), "30000-32767");
        for text in ["", "30000", "32767-30000", "0-10", "30000-70000", "a-b"] {
            assert!(text.parse::<NodePortRange>().is_err(), "{text}");
        }
    }
}
