//! The planner's input and output: what policies say, and what the maps are to hold.

use std::{collections::BTreeSet, fmt, net::IpAddr, sync::Arc};

use keelson_ebpf_common::policy::{Classes, Direction, Id};
use keelson_semantics::LabelSelector;

use super::labels::LabelSet;

/// Namespace and name.
pub type PodKey = (Box<str>, Box<str>);

/// A port that a container names.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct NamedPort {
    pub(super) name: Box<str>,
    /// IANA number.
    pub(super) protocol: u8,
    pub(super) number: u16,
}

/// What pods are selected by, and the ports that they name.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Profile {
    pub(super) namespace: Box<str>,
    pub(super) labels: LabelSet,
    /// Sorted.
    pub(super) ports: Box<[NamedPort]>,
}

/// Namespaces that a peer is looked for in.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Namespaces {
    /// The policy's own.
    Named(Box<str>),
    /// Those with such labels.
    Labelled(LabelSelector),
}

/// Who may be on the other side, and the same in words, by which it is known.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) text: Box<str>,
    pub(super) kind: PeerKind,
}

/// What a peer is.
#[derive(Clone, Debug)]
pub(super) enum PeerKind {
    /// Pods with such labels.
    Pods {
        /// Where.
        namespaces: Namespaces,
        /// Which.
        pods: LabelSelector,
    },
    /// Addresses of a range, without those of smaller ranges within.
    Block {
        /// The range, without bits behind its prefix.
        cidr: ipnet::IpNet,
        /// What is left out.
        except: Box<[ipnet::IpNet]>,
    },
}

impl Peer {
    /// Its words are the same in every daemon, and no other peer's: neither labels nor names hold the signs between them.
    pub(super) fn new(kind: PeerKind) -> Self {
        let text = match &kind {
            PeerKind::Pods { namespaces: Namespaces::Named(name), pods } => format!("in {name}: {pods}"),
            PeerKind::Pods { namespaces: Namespaces::Labelled(with), pods } => format!("with {with}: {pods}"),
            PeerKind::Block { cidr, except } => {
                let mut except: Vec<_> = except.iter().map(ToString::to_string).collect();
                except.sort_unstable();
                format!("block {cidr} but {}", except.join(","))
            }
        };
        Self { text: text.into(), kind }
    }
}

impl PartialEq for Peer {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// Ports that a rule names.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum Ports {
    /// Everything, also what has no ports.
    All,
    /// From one to another of a protocol, both included.
    Range { protocol: u8, first: u16, last: u16 },
    /// Whatever the receiving pod gives this name.
    Named { protocol: u8, name: Box<str> },
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Range { protocol, first, last } => write!(f, "{protocol}:{first}-{last}"),
            Self::Named { protocol, name } => write!(f, "{protocol}:{name}"),
        }
    }
}

/// One rule of a policy: any of the peers with any of the ports.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rule {
    /// `None`: anybody.
    pub(super) peers: Option<Vec<Arc<Peer>>>,
    pub(super) ports: Vec<Ports>,
}

/// A NetworkPolicy.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Policy {
    pub(super) selector: LabelSelector,
    /// What it lets in; `None` when it has no say about that.
    pub(super) ingress: Option<Vec<Rule>>,
    /// What it lets out; as above.
    pub(super) egress: Option<Vec<Rule>>,
}

/// Number of a peer that some group names; given once.
pub(super) type PeerId = u32;

/// Who a group lets have connections with which ports. `None` for a peer: anybody.
pub(super) type Allows = BTreeSet<(Option<PeerId>, Ports)>;

/// What the pods of a group may do. `None` for a direction: everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Group {
    pub(super) ingress: Option<Allows>,
    pub(super) egress: Option<Allows>,
}

/// What an address is to the groups of this node, as a pod, or by the blocks that it is in.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct Class {
    /// Peers that it belongs to, sorted.
    pub(super) peers: Box<[PeerId]>,
    /// Ports that it names, of those that some rule asks for by name, sorted.
    pub(super) ports: Box<[NamedPort]>,
}

/// A range of addresses, in the order in which ranges may be written: whoever is within another comes before it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Prefix(pub ipnet::IpNet);

impl Prefix {
    /// Of one address.
    pub fn of(address: IpAddr) -> Self {
        Self(address.into())
    }

    fn order(self) -> (std::cmp::Reverse<u8>, IpAddr) {
        (std::cmp::Reverse(self.0.prefix_len()), self.0.network())
    }
}

impl Ord for Prefix {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

impl PartialOrd for Prefix {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// An entry that lets packets pass.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Verdict {
    /// Whose.
    pub group: Id,
    /// With whom: a class, or [`Id::ANYONE`].
    pub class: Id,
    /// Who begins.
    pub direction: Direction,
    /// IANA number and ports; `None`: everything.
    pub ports: Option<PortPrefix>,
}

/// Ports with a common prefix.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct PortPrefix {
    /// IANA number.
    pub protocol: u8,
    /// The first of them.
    pub port: u16,
    /// How many bits they have in common, up to 16.
    pub bits: u8,
}

/// What applies to a pod of this node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EndpointPolicy {
    /// No policy selects it.
    Open,
    /// What its group allows.
    Policed {
        /// The group.
        group: Id,
        /// Packets to it are judged.
        ingress: bool,
        /// Packets from it are judged.
        egress: bool,
    },
}

/// A pod's uid, and what applies to it.
pub type PodPolicy = (Box<str>, EndpointPolicy);

/// What the kernel is to be brought to, in the order of the fields.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Changes {
    /// Entries that let pass, of groups and classes that nobody has yet.
    pub verdicts: Vec<Verdict>,
    /// Addresses and their classes; who is within another first.
    pub peers: Vec<(Prefix, Classes)>,
    /// Pods of this node, with their uid. `None`: it is not known any more, and closed.
    pub endpoints: Vec<(PodKey, Option<PodPolicy>)>,
    /// Addresses that are nobody's; who is within another last.
    pub peers_gone: Vec<Prefix>,
    /// Entries of groups and classes that nobody has any more.
    pub verdicts_gone: Vec<Verdict>,
}

impl Changes {
    /// Whether a packet that could pass may have to be stopped.
    pub fn takes_away(&self) -> bool {
        !(self.peers.is_empty()
            && self.endpoints.is_empty()
            && self.peers_gone.is_empty()
            && self.verdicts_gone.is_empty())
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.verdicts.is_empty() && !self.takes_away()
    }
}
