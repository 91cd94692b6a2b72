//! Which policies have a say about a connection, by name: for people. What is let pass is the kernel's tables' to say, where
//! policies have no names; both read the same objects.

use std::net::IpAddr;

use keelson_ebpf_common::policy::Direction;
use tokio::sync::{mpsc, oneshot};

use super::{
    index::Index,
    peers::reaches,
    types::{PeerKind, Policy, Ports, Profile, Rule},
};

/// Questions that wait at most; they are asked by people.
const QUESTIONS_MAX: usize = 16;

/// A connection by its ends' addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Connection {
    /// Who begins it.
    pub from: IpAddr,
    /// With whom.
    pub to: IpAddr,
    /// IANA number.
    pub protocol: u8,
    /// Of `to`; 0 where there are no ports.
    pub port: u16,
}

/// Policies that select a pod of this node for a direction.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Selecting {
    /// Their names, in the pod's namespace. Empty: everything passes.
    pub policies: Vec<Box<str>>,
    /// Those of them that let the connection pass. One is enough.
    pub letting: Vec<Box<str>>,
}

/// What is asked, and who waits for the answer.
pub(crate) type Question = (Connection, Direction, oneshot::Sender<Option<Selecting>>);

/// Where to ask whoever follows the policies.
#[derive(Clone, Debug)]
pub(crate) struct Questions(mpsc::Sender<Question>);

impl Questions {
    /// And where they come out.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Question>) {
        let (sender, receiver) = mpsc::channel(QUESTIONS_MAX);
        (Self(sender), receiver)
    }

    /// `None` where nobody follows policies, or the pod is not known to be this node's.
    pub(crate) async fn ask(&self, connection: Connection, direction: Direction) -> Option<Selecting> {
        let (answer, answered) = oneshot::channel();
        self.0.send((connection, direction, answer)).await.ok()?;
        answered.await.ok()?
    }
}

impl Index {
    /// Which policies select the pod of this node that sends (egress) or receives (ingress), and which of them let it.
    pub(super) fn explain(&self, connection: &Connection, direction: Direction) -> Option<Selecting> {
        let (own, other) = match direction {
            Direction::Egress => (connection.from, connection.to),
            Direction::Ingress => (connection.to, connection.from),
        };
        let own = self.holder(own).filter(|pod| pod.local)?;
        let own = &*self.profiles.get(own.profile)?.profile;
        let receiver = match direction {
            Direction::Ingress => Some(own),
            Direction::Egress => self.profile_at(other),
        };
        let policies = &self.namespaces.get(&own.namespace)?.policies;
        let mut selecting = Selecting::default();
        for (name, policy) in policies.iter().filter(|(_, policy)| policy.selector.matches(&own.labels)) {
            let Some(rules) = rules(policy, direction) else { continue };
            selecting.policies.push(name.clone());
            let lets = |rule: &Rule| {
                self.is_peer(rule, other) && rule.ports.iter().any(|ports| holds(ports, receiver, connection))
            };
            if rules.iter().any(lets) {
                selecting.letting.push(name.clone());
            }
        }
        Some(selecting)
    }

    fn profile_at(&self, address: IpAddr) -> Option<&Profile> {
        Some(&*self.profiles.get(self.holder(address)?.profile)?.profile)
    }

    fn is_peer(&self, rule: &Rule, address: IpAddr) -> bool {
        let Some(peers) = &rule.peers else { return true };
        peers.iter().any(|peer| match &peer.kind {
            PeerKind::Block { cidr, except } => {
                cidr.contains(&address) && !except.iter().any(|range| range.contains(&address))
            }
            PeerKind::Pods { namespaces, pods } => self.profile_at(address).is_some_and(|profile| {
                let namespace = self.namespaces.get(&profile.namespace);
                namespace.is_some_and(|known| reaches(namespaces, &profile.namespace, known))
                    && pods.matches(&profile.labels)
            }),
        })
    }
}

fn rules(policy: &Policy, direction: Direction) -> Option<&[Rule]> {
    match direction {
        Direction::Ingress => policy.ingress.as_deref(),
        Direction::Egress => policy.egress.as_deref(),
    }
}

fn holds(ports: &Ports, receiver: Option<&Profile>, connection: &Connection) -> bool {
    match ports {
        Ports::All => true,
        Ports::Range { protocol, first, last } => {
            *protocol == connection.protocol && (*first..=*last).contains(&connection.port)
        }
        Ports::Named { protocol, name } => {
            let own = receiver.into_iter().flat_map(|profile| &profile.ports);
            let mut own = own.filter(|port| (port.protocol, &port.name) == (*protocol, name));
            *protocol == connection.protocol && own.any(|port| port.number == connection.port)
        }
    }
}
