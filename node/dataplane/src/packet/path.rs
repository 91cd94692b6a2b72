//! What the per-packet programs would do with a connection between two pods, read from the tables that they read.
//!
//! As `ebpf/programs/src/tc/policy.rs` judges, without its memory of connections: what is told is the fate of a new one.

use std::{fmt, net::IpAddr};

use keelson_ebpf_common::{
    net::{Address6, Port},
    packet::{Endpoint, endpoint_flag},
    policy::{Classes, Direction, Id, PeerKey, VerdictKey},
};
use zerocopy::{FromBytes, IntoBytes};

use super::{Packets, endpoints::Endpoints, policies::Policies};
use crate::{Error, policy::Connection};

/// An address that this node delivers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum End {
    /// The node itself: its stack takes it.
    Node,
    /// A pod.
    Pod {
        /// The host's end of its link; empty if the daemon knows of none for this entry.
        link: String,
        /// What comes to it waits in that end's queue.
        shaped: bool,
    },
}

/// What is decided about one direction of one pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Judgement {
    /// The pod is not this node's: that node judges.
    NotHere,
    /// A node and its own pods, a pod and itself: never judged.
    Exempt,
    /// No policy selects the pod for this direction.
    Open,
    /// Nothing is known of the pod yet: only its node reaches it.
    Closed,
    /// An entry lets it pass.
    Allowed {
        /// The pod's group.
        group: Number,
        /// The entry.
        entry: Entry,
    },
    /// No entry does.
    Denied {
        /// The pod's group.
        group: Number,
        /// What the other side is to the groups of this node; none: it belongs to no peer that they name.
        classes: Vec<Number>,
    },
}

/// Number of a group or class, as it is printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Number(Id);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Id([a, b]) = self.0;
        write!(f, "{a:08x}{b:08x}")
    }
}

/// What lets pass.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// With whom.
    pub with: With,
    /// IANA number; `None`: everything.
    pub protocol: Option<u8>,
    /// First and last port; of all ports where there is a protocol without.
    pub ports: Option<(u16, u16)>,
}

/// With whom an entry lets connections pass.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum With {
    /// Whoever it is.
    Anyone,
    /// Addresses of this class, that of a pod by its labels.
    Pods(Number),
    /// Addresses of this class, by the blocks that hold them.
    Blocks(Number),
}

/// What this node does with a connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Path {
    /// Who begins, if this node delivers his address.
    pub from: Option<End>,
    /// The other one.
    pub to: Option<End>,
    /// The device to which packets for elsewhere are redirected, where it is on their way.
    pub uplink: Option<String>,
    /// What the sender's policies say.
    pub egress: Judgement,
    /// What the receiver's say.
    pub ingress: Judgement,
}

impl Packets {
    /// What would become of a connection, as far as it is this node's to decide.
    pub fn path(&self, connection: &Connection) -> Result<Path, Error> {
        let (from, to) = (self.endpoints.look(connection.from)?, self.endpoints.look(connection.to)?);
        let exempt = connection.from == connection.to
            || [&from, &to].into_iter().flatten().any(|end| end.ifindex == Endpoint::NODE);
        let judge = |own: Option<&Endpoint>, other, direction| {
            if exempt {
                return Ok(if own.is_some() { Judgement::Exempt } else { Judgement::NotHere });
            }
            own.map_or(Ok(Judgement::NotHere), |own| {
                self.policies.judge(own, other, direction, connection.protocol, connection.port)
            })
        };
        Ok(Path {
            egress: judge(from.as_ref(), connection.to, Direction::Egress)?,
            ingress: judge(to.as_ref(), connection.from, Direction::Ingress)?,
            from: from.map(|end| self.endpoints.describe(connection.from, &end)),
            to: to.map(|end| self.endpoints.describe(connection.to, &end)),
            uplink: self.options.uplink.clone(),
        })
    }
}

impl Endpoints {
    fn look(&self, address: IpAddr) -> Result<Option<Endpoint>, Error> {
        let bytes = self.map.lookup(Address6::from_ip(address).as_bytes())?;
        Ok(bytes.and_then(|bytes| Endpoint::read_from_bytes(&bytes).ok()))
    }

    fn describe(&self, address: IpAddr, end: &Endpoint) -> End {
        if end.ifindex == Endpoint::NODE {
            return End::Node;
        }
        let known = self.pods.get(&address).filter(|(_, ifindex)| *ifindex == end.ifindex);
        let link = known.map(|(pod, _)| pod.link.clone()).unwrap_or_default();
        End::Pod { link, shaped: end.flags & endpoint_flag::SHAPED != 0 }
    }
}

impl Policies {
    fn judge(
        &self,
        own: &Endpoint,
        other: IpAddr,
        direction: Direction,
        protocol: u8,
        port: u16,
    ) -> Result<Judgement, Error> {
        let judged = match direction {
            Direction::Ingress => endpoint_flag::INGRESS,
            Direction::Egress => endpoint_flag::EGRESS,
        };
        if own.flags & judged == 0 {
            return Ok(Judgement::Open);
        }
        if own.group == Id::NONE {
            return Ok(Judgement::Closed);
        }
        let group = Number(own.group);
        let classes = self.peers.lookup(PeerKey::of(Address6::from_ip(other)).as_bytes())?;
        let classes = classes.and_then(|bytes| Classes::read_from_bytes(&bytes).ok());
        let Classes { pods, blocks } = classes.unwrap_or_default();
        let ways = [
            (Id::ANYONE, With::Anyone),
            (pods, With::Pods(Number(pods))),
            (blocks, With::Blocks(Number(blocks))),
        ];
        for (class, with) in ways.into_iter().filter(|(class, _)| *class != Id::NONE) {
            let asked = VerdictKey {
                bits: VerdictKey::BITS,
                group: own.group,
                class,
                direction: direction as u8,
                protocol,
                port: Port::new(port),
            };
            if let Some(bits) = self.widest(asked)? {
                let (protocol, ports) = covered(&asked, bits);
                return Ok(Judgement::Allowed { group, entry: Entry { with, protocol, ports } });
            }
        }
        let classes = [pods, blocks].into_iter().filter(|class| *class != Id::NONE).map(Number).collect();
        Ok(Judgement::Denied { group, classes })
    }

    /// Bits of the entry that holds what is asked; of several the widest, which lets it pass without the others. The trie says
    /// of a number of bits whether there is one of so many or fewer.
    fn widest(&self, asked: VerdictKey) -> Result<Option<u32>, Error> {
        let found =
            |bits| Ok::<_, Error>(self.verdicts.lookup(VerdictKey { bits, ..asked }.as_bytes())?.is_some());
        if !found(VerdictKey::BITS)? {
            return Ok(None);
        }
        for bits in VerdictKey::FIXED_BITS..VerdictKey::BITS {
            if found(bits)? {
                return Ok(Some(bits));
            }
        }
        Ok(Some(VerdictKey::BITS))
    }
}

/// What an entry of so many bits holds beside what was asked for.
fn covered(asked: &VerdictKey, bits: u32) -> (Option<u8>, Option<(u16, u16)>) {
    let Some(ports) = bits.checked_sub(VerdictKey::FIXED_BITS + 8) else { return (None, None) };
    let size = 1_u32 << (16 - ports.min(16));
    let first = u32::from(asked.port.number()) / size * size;
    (Some(asked.protocol), (ports > 0).then_some((first as u16, (first + size - 1) as u16)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_for_everything_a_protocol_or_ports() {
        let (group, class) = (Id([1, 2]), Id::ANYONE);
        let asked = VerdictKey {
            bits: VerdictKey::BITS,
            group,
            class,
            direction: Direction::Ingress as u8,
            protocol: 6,
            port: Port::new(8081),
        };
        let of = |ports| covered(&asked, VerdictKey::FIXED_BITS + ports);
        assert_eq!(of(0), (None, None));
        assert_eq!(of(8), (Some(6), None));
        assert_eq!(of(8 + 16), (Some(6), Some((8081, 8081))));
        assert_eq!(of(8 + 14), (Some(6), Some((8080, 8083))));
        assert_eq!(of(8 + 1), (Some(6), Some((0, 32_767))));
    }

    #[test]
    fn a_number_is_printed_as_sixteen_digits() {
        assert_eq!(Number(Id([1, 0xab])).to_string(), "00000001000000ab");
    }
}
