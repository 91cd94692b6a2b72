//! What the program on the uplink's wire (XDP) keeps, and what it writes for the backend's node: direct server return. Flows that
//! get the node's address instead are those of [`crate::packet`], which all programs share.
//!
//! ```text
//!  client ──▶ node with the address: only the destination becomes the backend's ──▶ backend's node ──▶ pod
//!     ▲                                                                                │
//!     └─────────────── the answer, with the Service's address as its source ◀──────────┘
//! ```
//! The first packet of a TCP connection and every UDP one carry the Service's address and port in an option: of the IPv4
//! header, or of an extension header of IPv6. From them the backend's node learns what the answers' source is.
//!
//! A flow that was opened is known by its way ([`Way`], [`Way6`]), so that it stays at its backend when others come and go. Of
//! IPv4 a line has room for three and its sibling for three more; of IPv6 one fills its line, which has three siblings. Who opens
//! a flow takes a way that is empty, of a flow that was never used again or is over, or of one that was silent for long; never
//! that of a flow in use. So a flood of new flows displaces only its like; a flow without a way goes where the table leads.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::net::{Address4, Address6, Port};

/// The option's type: copied into fragments, control, number 26 (unassigned, <https://www.iana.org/assignments/ip-parameters>).
pub const OPTION_TYPE: u8 = 0x9a;
/// Its bytes: type, length, port, address.
pub const OPTION_BYTES: u32 = 8;

/// The option, wire order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct DirectOption {
    /// [`OPTION_TYPE`].
    pub option_type: u8,
    /// [`OPTION_BYTES`].
    pub length: u8,
    /// The Service's port.
    pub port: Port,
    /// The Service's address.
    pub address: Address4,
}

/// Number of IPv6's header of options for the destination.
pub const DESTINATION_OPTIONS: u8 = 60;
/// The option of IPv6, for the destination (RFC 8200, 4.6): for experiments (RFC 4727), not to be changed on the way; who does not know
/// it discards the packet, so a connection waits for a node that has not heard of its Service yet.
pub const OPTION6_TYPE: u8 = 0x5e;
/// Bytes of the extension header that holds it alone.
pub const OPTION6_BYTES: u32 = 24;
/// Bytes of the option after its own type and length.
pub const OPTION6_LENGTH: u8 = 20;

/// That header, wire order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct DirectOption6 {
    /// Number of the header that follows.
    pub next_header: u8,
    /// Its length in eight bytes, less one.
    pub units: u8,
    /// [`OPTION6_TYPE`].
    pub option_type: u8,
    /// [`OPTION6_LENGTH`].
    pub length: u8,
    /// The Service's port.
    pub port: Port,
    /// Always zero.
    pub pad: u16,
    /// The Service's address.
    pub address: Address6,
}

impl DirectOption6 {
    /// [`Self::units`] of all.
    pub const UNITS: u8 = (OPTION6_BYTES / 8 - 1) as u8;
}

/// A flow of TCP that was opened, and where it goes. All but `state` is written while that says [`state::BUSY`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Way {
    /// The client's address, network order.
    pub source: u32,
    /// The Service's address, network order.
    pub service: u32,
    /// The client's port in the lower half as in memory, the Service's in the upper.
    pub ports: u32,
    /// The backend's address, network order.
    pub backend: u32,
    /// Of [`state`] in the lower half; the backend's port, network order, in the upper.
    pub state: u32,
}

/// The same of IPv6; a cache line.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Way6 {
    /// As in [`Way`].
    pub state: u32,
    /// As in [`Way`].
    pub ports: u32,
    /// The client's address, network order.
    pub source: [u32; 4],
    /// The Service's address, network order.
    pub service: [u32; 4],
    /// The backend's address, network order.
    pub backend: [u32; 4],
    /// Always zero.
    pub spare: [u32; 2],
}

/// Bits of [`Way::state`]. All zero: empty.
pub mod state {
    /// A packet after the first was seen.
    pub const USED: u32 = 1 << 15;
    /// The client has sent FIN or RST.
    pub const OVER: u32 = 1 << 14;
    /// Being written: nobody's.
    pub const BUSY: u32 = 1 << 13;
    /// There is a flow.
    pub const TAKEN: u32 = 1 << 12;
    /// When it was last used, in [`super::AGE_NS_LOG2`], modulo 4,096 (nine hours and three quarters).
    pub const AGE: u32 = 0xfff;
}

/// A unit of age is 2^33 nanoseconds: 8.6 seconds.
pub const AGE_NS_LOG2: u32 = 33;
/// Units of age after which a flow that is silent may be displaced: a quarter of an hour.
pub const IDLE_MAX: u32 = 105;
/// A hop is asked for anew when 2^30 nanoseconds have passed: a second.
pub const HOP_NS_LOG2: u32 = 30;

/// Ways of a line of IPv4.
pub const WAYS: usize = 3;
/// Lines in which a flow of IPv4 may lie: its own and its sibling.
pub const LINES: u32 = 2;
/// The same of IPv6.
pub const LINES6: u32 = 4;

/// One cache line of flows.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Line {
    /// The flows.
    pub ways: [Way; WAYS],
    /// Always zero.
    pub spare: u32,
}

/// How an address is reached.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Hop {
    /// The address, IPv4 in mapped form; zeros: nobody's.
    pub address: Address6,
    /// When it was asked for, in [`HOP_NS_LOG2`].
    pub asked: u32,
    /// Bytes of an IP packet on the way; 0: not by the uplink.
    pub mtu: u32,
    /// Hardware address of the next router or node.
    pub mac_destination: [u16; 3],
    /// Hardware address of the uplink.
    pub mac_source: [u16; 3],
}

/// What became of a packet to a Service that is reached from outside, or of an answer; the index of a count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Verdict {
    /// Sent on to the backend of a known flow.
    Known = 0,
    /// Sent on to a backend that was chosen for it.
    Chosen = 1,
    /// Left to tc: the backend is on this node, or the way to it leads by another device.
    Local = 2,
    /// Left to tc, which knows the flow, or is to decide: no backend, a client out of range, no neighbour known yet, no room.
    Left = 3,
    /// A new flow that found no way free: it is sent where the table leads, now and later.
    Unwritten = 4,
    /// Too long for the way to the backend and not to be divided: answered by ICMP "fragmentation needed" or "packet too big".
    TooLong = 5,
    /// A known flow whose next hop is not known (no route, no neighbour): dropped.
    NoHop = 6,
    /// Sent on with the node's address as its source, to a backend that was chosen for it.
    Opened = 7,
    /// Sent on as its flow says, to the backend with the node's address or back to the client with the Service's.
    Translated = 8,
}

/// How many verdicts there are.
pub const VERDICTS: u32 = 9;

impl Verdict {
    /// All, in the order of their numbers.
    pub const ALL: [Self; VERDICTS as usize] = [
        Self::Known,
        Self::Chosen,
        Self::Local,
        Self::Left,
        Self::Unwritten,
        Self::TooLong,
        Self::NoHop,
        Self::Opened,
        Self::Translated,
    ];

    /// The name in metrics and tools.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Chosen => "chosen",
            Self::Local => "local",
            Self::Left => "left",
            Self::Unwritten => "unwritten",
            Self::TooLong => "too_long",
            Self::NoHop => "no_hop",
            Self::Opened => "opened",
            Self::Translated => "translated",
        }
    }
}

/// The program's globals that the loader writes.
pub mod global {
    /// Lines of known flows, less one.
    pub const KNOWN_MASK: &str = "KNOWN_MASK";
    /// The same of IPv6.
    pub const KNOWN6_MASK: &str = "KNOWN6_MASK";
    /// Whether packets get the node's address here, too: 0 or 1.
    pub const TRANSLATES: &str = "TRANSLATES";
}

const _: () = assert!(size_of::<Line>() == 64 && size_of::<Way6>() == 64 && size_of::<Hop>() == 36);
const _: () = assert!(size_of::<DirectOption>() == OPTION_BYTES as usize);
const _: () = assert!(size_of::<DirectOption6>() == OPTION6_BYTES as usize);
