//! The maps as the programs read them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use keelson_ebpf_common::policy::{Classes, Direction, Id};

use crate::policy::{Changes, EndpointPolicy, PodKey, Prefix, Verdict};

/// A connection that a pod of this node may or may not have.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    /// `namespace/name`.
    pub(super) pod: PodKey,
    pub(super) direction: Direction,
    pub(super) other: IpAddr,
    pub(super) protocol: u8,
    /// 0 where there are no ports.
    pub(super) port: u16,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Maps {
    pub(super) peers: BTreeMap<Prefix, Classes>,
    pub(super) verdicts: BTreeSet<Verdict>,
    pub(super) endpoints: BTreeMap<PodKey, EndpointPolicy>,
}

impl Maps {
    /// Takes the steps one by one, and has each state between them looked at.
    pub(super) fn apply(&mut self, changes: &Changes, mut look: impl FnMut(&Self)) {
        for verdict in &changes.verdicts {
            assert!(self.verdicts.insert(*verdict), "{verdict:?} twice");
            look(self);
        }
        for (prefix, class) in &changes.peers {
            assert_ne!(self.peers.insert(*prefix, *class), Some(*class), "{prefix:?} is that already");
            look(self);
        }
        for (key, policy) in &changes.endpoints {
            match policy {
                Some((_, policy)) => self.endpoints.insert(key.clone(), *policy),
                None => self.endpoints.remove(key),
            };
            look(self);
        }
        for prefix in &changes.peers_gone {
            self.peers.remove(prefix).expect("it is there");
            look(self);
        }
        for verdict in &changes.verdicts_gone {
            assert!(self.verdicts.remove(verdict), "{verdict:?} was not there");
            look(self);
        }
    }

    pub(super) fn passes(&self, connection: &Connection) -> bool {
        let (group, policed) = match self.endpoints.get(&connection.pod) {
            None => (Id::NONE, true),
            Some(EndpointPolicy::Open) => return true,
            Some(EndpointPolicy::Policed { group, ingress, egress }) => match connection.direction {
                Direction::Ingress => (*group, *ingress),
                Direction::Egress => (*group, *egress),
            },
        };
        let Classes { pods, blocks } = self.classes(connection.other);
        !policed || [Id::ANYONE, pods, blocks].iter().any(|class| self.lets(group, *class, connection))
    }

    fn classes(&self, address: IpAddr) -> Classes {
        let holding = self.peers.iter().filter(|(prefix, _)| prefix.0.contains(&address));
        let closest = holding.max_by_key(|(prefix, _)| prefix.0.prefix_len());
        closest.map_or(Classes { pods: Id::NONE, blocks: Id::NONE }, |(_, classes)| *classes)
    }

    fn lets(&self, group: Id, class: Id, connection: &Connection) -> bool {
        self.verdicts.iter().any(|verdict| {
            (verdict.group, verdict.class, verdict.direction) == (group, class, connection.direction)
                && verdict.ports.is_none_or(|ports| {
                    let bits = u32::from(16 - ports.bits);
                    ports.protocol == connection.protocol
                        && u32::from(ports.port) >> bits == u32::from(connection.port) >> bits
                })
        })
    }
}
