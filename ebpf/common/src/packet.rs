//! What the per-packet programs keep: endpoints, flows, fragments; and how long a flow may be idle.
//!
//! A flow is two entries of one table, one for each direction, each keyed by the packets as they come and holding what
//! they become: `A > Service` becomes `A > backend`, and `backend > A` becomes `Service > A`. Every translation (to a
//! backend, to the node's address, both, a pod to itself) is such a pair, so no program asks which it is.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    net::{Address6, Port},
    policy::Id,
};

/// IANA numbers of the protocols that are followed.
pub mod protocol {
    /// ICMP; only echo is a flow, its identifier takes the place of the client's port.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// No transport: a part of an IPv6 datagram.
    pub const FRAGMENT: u8 = 44;
    /// ICMPv6.
    pub const ICMP6: u8 = 58;
    /// SCTP; its ports never change.
    pub const SCTP: u8 = 132;
}

/// Bits of the TCP header's flags (RFC 9293).
pub mod tcp {
    /// No more data from the sender.
    pub const FIN: u8 = 1;
    /// The first of a connection, or the answer to it.
    pub const SYN: u8 = 2;
    /// The connection is no more.
    pub const RST: u8 = 4;
    /// It acknowledges.
    pub const ACK: u8 = 16;
}

/// Whether a protocol says how its connections begin and end.
#[inline(always)]
pub const fn has_handshake(protocol: u8) -> bool {
    protocol == protocol::TCP || protocol == protocol::SCTP
}

/// One direction of a flow, as a packet states it. IPv4 in mapped form.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Tuple {
    /// Where it comes from.
    pub source: Address6,
    /// Where it goes.
    pub destination: Address6,
    /// Port of the source.
    pub source_port: Port,
    /// Port of the destination.
    pub destination_port: Port,
    /// Of [`protocol`].
    pub protocol: u8,
    /// Always zero.
    pub pad: [u8; 3],
}

impl Tuple {
    /// Of a packet whose ports are not known, or do not matter.
    #[inline(always)]
    pub const fn of_addresses(source: Address6, destination: Address6, protocol: u8) -> Self {
        let (source_port, destination_port) = (Port(0), Port(0));
        Self { source, destination, source_port, destination_port, protocol, pad: [0; 3] }
    }

    /// Puts the smaller end first, so that both directions are the same key. Whether the ends changed places.
    ///
    /// Without branches: to the verifier each would be a way of its own.
    #[inline(always)]
    pub fn order(&mut self) -> bool {
        /// Whether less, whether equal: all bits or none.
        const fn compare(one: u32, other: u32) -> (u64, u64) {
            let less = (one as u64).wrapping_sub(other as u64) >> 63;
            let equal = ((one ^ other) as u64).wrapping_sub(1) >> 63;
            (less, equal)
        }
        let (Address6([a, b, c, d]), Address6([e, f, g, h])) = (self.destination, self.source);
        let (mut less, mut equal) = (0, 1);
        let ports = (self.destination_port.0 as u32, self.source_port.0 as u32);
        for (one, other) in [(d, h), (c, g), (b, f), (a, e), ports] {
            let (this_less, this_equal) = compare(one, other);
            less |= equal & this_less;
            equal &= this_equal;
        }
        let mask = (less as u32).wrapping_neg();
        let mut at = 0;
        while at < 4 {
            let change = (self.source.0[at] ^ self.destination.0[at]) & mask;
            self.source.0[at] ^= change;
            self.destination.0[at] ^= change;
            at += 1;
        }
        let change = (self.source_port.0 ^ self.destination_port.0) & mask as u16;
        self.source_port.0 ^= change;
        self.destination_port.0 ^= change;
        less != 0
    }

    /// The other direction.
    #[inline(always)]
    pub const fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol: self.protocol,
            pad: [0; 3],
        }
    }
}

/// Facts about one direction of a flow, bits of [`Flow::marks`].
pub mod mark {
    /// The direction of the answers.
    pub const REVERSE: u32 = 1;
    /// An answer was seen; kept with the direction that asks, while the flow is half-open.
    pub const ANSWERED: u32 = 1 << 1;
    /// This direction has sent FIN.
    pub const FIN: u32 = 1 << 2;
    /// This direction has sent RST, or of SCTP an ABORT or SHUTDOWN COMPLETE.
    pub const RESET: u32 = 1 << 3;
    /// Both directions: another node sends the client's packets here as they are ([`crate::wire`]), so that only the answers
    /// are translated. What the client sends is seen here under another key.
    pub const DIRECT: u32 = 1 << 4;
}

/// State: what the packets of a [`Tuple`] become. The other direction's key is `becomes.reversed()`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Flow {
    /// As they go on.
    pub becomes: Tuple,
    /// `CLOCK_MONOTONIC` of the last packet, seconds.
    pub seen_s: u32,
    /// Of [`mark`].
    pub marks: u32,
}

impl Flow {
    /// The other direction of the flow whose direction `key` is this.
    #[inline(always)]
    pub const fn counterpart(&self, key: &Tuple) -> (Tuple, Self) {
        let marks = (self.marks ^ mark::REVERSE) & mark::REVERSE;
        (self.becomes.reversed(), Self { becomes: key.reversed(), seen_s: self.seen_s, marks })
    }

    /// Seconds that an established flow may be idle, with the marks of both directions. The figures are those that users of
    /// kube-proxy have: it sets the kernel's connection tracking to a day, and an hour for a half-closed connection.
    pub const fn idle_max_s(protocol: u8, marks: u32, finished: Finished) -> u32 {
        match (protocol, finished) {
            (protocol::TCP, _) if marks & mark::RESET != 0 => 10,
            (protocol::TCP, Finished::Both) => 60,
            (protocol::TCP, Finished::One) => 3_600,
            (protocol::TCP, Finished::Neither) => 86_400,
            (protocol::UDP, _) => 180,
            (protocol::SCTP, _) if marks & mark::RESET != 0 => 10,
            // Both ends send heartbeats, every 30 s by default; the figure is that of Linux' connection tracking.
            (protocol::SCTP, _) => 210,
            _ => HALF_OPEN_MAX_S,
        }
    }
}

/// Which directions of a TCP connection have sent FIN.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Finished {
    /// It goes on.
    Neither,
    /// It is half-closed.
    One,
    /// It is over.
    Both,
}

/// Seconds that a flow without an answer may be idle.
pub const HALF_OPEN_MAX_S: u32 = 60;

/// Where packets to an address are delivered.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Endpoint {
    /// The pod's link on the host's side; [`Endpoint::NODE`] for an address of the node itself.
    pub ifindex: u32,
    /// Hardware address of the pod's end.
    pub mac: [u8; 6],
    /// Hardware address of the host's end.
    pub host_mac: [u8; 6],
    /// Of [`endpoint_flag`].
    pub flags: u32,
    /// What the pod may do, where it is policed; [`Id::NONE`]: nothing.
    pub group: Id,
}

impl Endpoint {
    /// Not a pod: the node's own stack.
    pub const NODE: u32 = 0;
}

/// A device that leads to nodes through something that wraps packets: it takes what fits into it, and has an address of the node by
/// which the answers find back.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Tunnel {
    /// The node's IPv4 address there, network order; 0 without one.
    pub node4: u32,
    /// The node's IPv6 address there; zeros without one.
    pub node6: [u32; 4],
}

/// How fast a pod may send out of its node: each of its packets is told when it may leave.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Pace {
    /// The bound; 0: none.
    pub bytes_per_s: u64,
    /// When the next one may leave: `CLOCK_MONOTONIC`, nanoseconds.
    pub next_ns: u64,
}

impl Pace {
    /// How long so many bytes take. A packet's are few: their product fits.
    #[inline(always)]
    pub const fn takes_ns(bytes: u64, bytes_per_s: u64) -> u64 {
        bytes * 1_000_000_000 / bytes_per_s
    }
}

/// A packet that could leave only later than that is dropped: else what a pod sends too fast would pile up at the uplink. That of others
/// in the field (Cilium's bandwidth manager).
pub const PACE_HORIZON_NS: u64 = 2_000_000_000;

/// The hardware address by which the node answers for an address that is no link's.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Announced {
    /// That of the uplink.
    pub mac: [u8; 6],
    /// Always zero.
    pub pad: [u8; 2],
}

/// Facts about a pod, bits of [`Endpoint::flags`].
pub mod endpoint_flag {
    /// The host's end of its link bounds the rate of what comes to it: packets go through that end, not past it.
    pub const SHAPED: u32 = 1 << 2;
    /// What it sends out of the node has times of departure ([`super::Pace`]).
    pub const PACED: u32 = 1 << 3;
    /// What comes to it is judged.
    pub const INGRESS: u32 = 1;
    /// What it sends is judged.
    pub const EGRESS: u32 = 1 << 1;
    /// Either.
    pub const POLICED: u32 = INGRESS | EGRESS;
}

/// A datagram in fragments, of which only the first has ports (RFC 791; RFC 8200, 4.5).
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Fragments {
    /// As the packet has them, before anything is translated; IPv4 in mapped form.
    pub source: Address6,
    /// As above.
    pub destination: Address6,
    /// The datagram's identification, network order.
    pub id: u32,
    /// The protocol; [`protocol::FRAGMENT`] for IPv6, where identifications are not of a protocol each.
    pub protocol: u8,
    /// Always zero.
    pub pad: [u8; 3],
}

/// State: what only the first fragment of a datagram says.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct FragmentPorts {
    /// Of the source.
    pub source: Port,
    /// Of the destination.
    pub destination: Port,
    /// The protocol.
    pub protocol: u8,
    /// Always zero.
    pub pad: [u8; 3],
}

/// A client that a Service keeps at one backend, where the client is known by its address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Client {
    /// Its address; IPv4 in mapped form.
    pub address: Address6,
    /// What it asks for; IPv4 in mapped form.
    pub frontend: crate::key::Frontend6,
}

/// Longest-prefix key of an address range. IPv4 in mapped form, so 96 bits longer than as written.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Range {
    /// Bits of what follows that count, host order.
    pub bits: u32,
    /// Whose range it is: 0 for the cluster's own, else the number of an [`External`] frontend and one.
    pub owner: u32,
    /// The address.
    pub address: Address6,
}

impl Range {
    /// Bits before the address.
    pub const OWNER_BITS: u32 = 32;
    /// As a key to look a single address up.
    #[inline(always)]
    pub const fn of(owner: u32, address: Address6) -> Self {
        Self { bits: Self::OWNER_BITS + 128, owner, address }
    }
}

/// Number of the record of a frontend that is reached from outside.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct External {
    /// Index into the records, host order.
    pub number: u32,
}

/// Where such a frontend leads, as one word that is stored at once: backends and the table that spreads flows over them
/// change together.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ExternalTarget {
    /// Index of the first backend slot, below 2^16.
    pub first: u32,
    /// How many slots, below 2^16.
    pub count: u32,
    /// The table, if it has one; else flows are spread by chance.
    pub table: Option<Table>,
    /// `externalTrafficPolicy: Local`: without a backend here it is not answered at all.
    pub local_only: bool,
    /// Only clients in its ranges are let in.
    pub ranged: bool,
    /// Clients are held to their backend, as long as [`crate::layout::EXTERNAL_AFFINITY`] says.
    pub affine: bool,
    /// The backends' nodes answer clients themselves, see [`crate::wire`].
    pub direct: bool,
}

/// A table of [`crate::maglev`] and where it lies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Table {
    /// First word, below 2^19.
    pub start: u32,
    /// Its size's number in [`crate::maglev::SIZES`], from 1.
    pub size: u32,
}

const _: () = assert!(crate::limits::EXTERNAL_BACKENDS_MAX <= 1 << 16);
const _: () = assert!(crate::limits::MAGLEV_WORDS_MAX <= 1 << 19);

impl ExternalTarget {
    /// As one word.
    pub const fn pack(self) -> u64 {
        let table = match self.table {
            None => 0,
            Some(Table { start, size }) => (start as u64) << 3 | size as u64,
        };
        (self.first & 0xffff) as u64
            | (self.count as u64) << 16
            | table << 32
            | (self.local_only as u64) << 54
            | (self.ranged as u64) << 55
            | (self.affine as u64) << 56
            | (self.direct as u64) << 57
    }

    /// From one word.
    #[inline(always)]
    pub const fn unpack(word: u64) -> Self {
        let size = (word >> 32 & 7) as u32;
        let start = (word >> 35 & 0x7_ffff) as u32;
        Self {
            first: (word & 0xffff) as u32,
            count: (word >> 16 & 0xffff) as u32,
            table: if size == 0 { None } else { Some(Table { start, size }) },
            local_only: word >> 54 & 1 != 0,
            ranged: word >> 55 & 1 != 0,
            affine: word >> 56 & 1 != 0,
            direct: word >> 57 & 1 != 0,
        }
    }
}

/// The globals of the programs that the loader writes, constants to the verifier.
pub mod global {
    /// The node's IPv4 address, network order; 0 without one.
    pub const NODE4: &str = "NODE4";
    /// The node's IPv6 address; zeros without one.
    pub const NODE6: &str = "NODE6";
    /// Index of the uplink; 0 without one.
    pub const UPLINK: &str = "UPLINK";
    /// The first port that translated sources get, host order.
    pub const PORTS_FIRST: &str = "PORTS_FIRST";
    /// How many there are.
    pub const PORTS_COUNT: &str = "PORTS_COUNT";
    /// Whether packets of pods that leave the cluster get the node's address: 0 or 1.
    pub const MASQUERADE: &str = "MASQUERADE";
    /// Whether the pods' links are another network's: 0 or 1.
    pub const FOREIGN_PODS: &str = "FOREIGN_PODS";
}

const _: () = assert!(size_of::<Tuple>() == 40 && align_of::<Tuple>() == 4);
const _: () = assert!(size_of::<Flow>() == 48);
const _: () = assert!(size_of::<Endpoint>() == 28 && size_of::<Pace>() == 16);
const _: () = assert!(size_of::<Fragments>() == 40 && size_of::<FragmentPorts>() == 8);
const _: () = assert!(size_of::<Client>() == 36 && size_of::<Range>() == 24);

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple() -> Tuple {
        let address = |n| Address6([0, 0, 0, n]);
        Tuple {
            source: address(1),
            destination: address(2),
            source_port: Port::new(1000),
            destination_port: Port::new(80),
            protocol: protocol::TCP,
            pad: [0; 3],
        }
    }

    #[test]
    fn the_counterpart_of_the_counterpart_is_the_direction_itself() {
        let key = tuple();
        let becomes = Tuple { destination: Address6([0, 0, 0, 3]), destination_port: Port::new(8080), ..key };
        let flow = Flow { becomes, seen_s: 7, marks: 0 };
        let (back, reverse) = flow.counterpart(&key);
        assert_eq!((back.source, back.destination), (becomes.destination, key.source));
        assert_eq!(reverse.marks, mark::REVERSE);
        assert_eq!(reverse.counterpart(&back), (key, flow));
    }

    #[test]
    fn both_directions_have_one_order() {
        for (source, destination) in
            [((1, 1000), (2, 80)), ((7, 80), (2, 1000)), ((3, 5), (3, 4)), ((3, 4), (3, 4))]
        {
            let end = |(address, port)| (Address6([0, 9, 0, address]), Port::new(port));
            let ((source, source_port), (destination, destination_port)) = (end(source), end(destination));
            let tuple = Tuple { source, destination, source_port, destination_port, ..tuple() };
            let (mut there, mut back) = (tuple, tuple.reversed());
            let swapped = (there.order(), back.order());
            assert_eq!(there, back);
            assert!(tuple == tuple.reversed() || swapped.0 != swapped.1);
        }
    }

    #[test]
    fn an_external_target_survives_packing() {
        let table = Table { start: 0x7_abcd, size: 7 };
        let full = ExternalTarget {
            first: 0xabcd,
            count: 0xfedc,
            table: Some(table),
            local_only: true,
            ranged: true,
            affine: true,
            direct: true,
        };
        let rows = [
            full,
            ExternalTarget { table: None, ..full },
            ExternalTarget { local_only: false, affine: false, ..full },
            ExternalTarget { ranged: false, direct: false, ..full },
            ExternalTarget::default(),
        ];
        for target in rows {
            assert_eq!(ExternalTarget::unpack(target.pack()), target);
        }
    }

    #[test]
    fn what_is_over_is_forgotten_sooner() {
        let idle = |marks, finished| Flow::idle_max_s(protocol::TCP, marks, finished);
        assert!(idle(mark::RESET, Finished::Neither) < idle(mark::FIN, Finished::Both));
        assert!(idle(mark::FIN, Finished::Both) < idle(mark::FIN, Finished::One));
        assert!(idle(mark::FIN, Finished::One) < idle(0, Finished::Neither));
    }
}
