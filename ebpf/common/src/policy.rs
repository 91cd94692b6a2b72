//! What the per-packet programs keep of network policies: classes of addresses, verdicts, connections that were let pass.
//!
//! A pod that policies select has a group (`packet::Endpoint::group`), an address a class: the peers that it belongs to, of
//! those that policies of this node's pods name. A connection passes if there is a verdict for the group and the class, or
//! for the group and anyone, with its protocol and port. The vocabulary is `node/dataplane`'s, module `policy`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::net::{Address6, Port};

/// Number of a group or a class: a hash of what it is.
#[repr(C)]
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    Eq,
    Hash,
    Ord,
    PartialEq,
    PartialOrd,
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout,
)]
pub struct Id(pub [u32; 2]);

impl Id {
    /// The group of pods that nothing is known of, which nobody may reach but their node; the class of addresses that belong to
    /// no peer.
    pub const NONE: Self = Self([0; 2]);
    /// In place of a class: whoever it is.
    pub const ANYONE: Self = Self([u32::MAX; 2]);
}

/// The classes of an address. Two, so that a block which holds many pods is not a difference between all of them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Classes {
    /// As a pod, by its labels.
    pub pods: Id,
    /// By the blocks that it is in.
    pub blocks: Id,
}

/// Who begins a connection.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Direction {
    /// The other side.
    Ingress = 1,
    /// The pod.
    Egress = 2,
}

/// Longest-prefix key of a range of addresses.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct PeerKey {
    /// Bits of what follows that count, host order.
    pub bits: u32,
    /// 4 or 6, host order: else `::/0` would hold the IPv4 addresses.
    pub family: u32,
    /// The address; IPv4 in mapped form.
    pub address: Address6,
}

impl PeerKey {
    /// Bits before the address.
    pub const FAMILY_BITS: u32 = 32;
    /// All bits.
    pub const BITS: u32 = Self::FAMILY_BITS + 128;

    /// As a key to look a single address up.
    #[inline(always)]
    pub const fn of(address: Address6) -> Self {
        let family = if address.mapped().is_some() { 4 } else { 6 };
        Self { bits: Self::BITS, family, address }
    }
}

/// Longest-prefix key of what is let pass. An entry with [`Self::FIXED_BITS`] is for everything, one with 8 more for a
/// protocol, with up to 16 more for a range of ports.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct VerdictKey {
    /// Bits of what follows that count, host order.
    pub bits: u32,
    /// The pod's.
    pub group: Id,
    /// The other side's, or [`Id::ANYONE`].
    pub class: Id,
    /// A [`Direction`].
    pub direction: u8,
    /// IANA number.
    pub protocol: u8,
    /// Of the side that is asked; 0 for what has no ports.
    pub port: Port,
}

impl VerdictKey {
    /// Bits before the protocol.
    pub const FIXED_BITS: u32 = 136;
    /// All bits.
    pub const BITS: u32 = Self::FIXED_BITS + 8 + 16;
}

/// Facts about a connection that was let pass, bits of [`Judged::marks`].
pub mod mark {
    /// The key names the other way round: who began comes second.
    pub const SWAPPED: u32 = 1;
    /// An answer was seen.
    pub const ANSWERED: u32 = 1 << 1;
    /// Who began has sent FIN.
    pub const FIN: u32 = 1 << 2;
    /// Who answered has sent FIN.
    pub const FIN_BACK: u32 = 1 << 3;
    /// Either has sent RST.
    pub const RESET: u32 = 1 << 4;
}

/// State: a connection that was let pass. Its key is a `packet::Tuple` whose smaller end comes first, so both directions
/// find it at once.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Judged {
    /// [`Control::epoch`] when it was judged: in another it is judged anew.
    pub epoch: u32,
    /// `CLOCK_MONOTONIC` of the last packet, seconds.
    pub seen_s: u32,
    /// Of [`mark`].
    pub marks: u32,
}

/// One word each that the daemon writes and every packet reads.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Control {
    /// Another after every change that takes something away, once the maps have it.
    pub epoch: u32,
    /// Of [`control`].
    pub flags: u32,
}

/// Bits of [`Control::flags`].
pub mod control {
    /// Pods of this node may be policed.
    pub const ENFORCED: u32 = 1;
    /// There are policies in the cluster: a pod speaks with its own address alone, by which policies know it.
    pub const OWN_SOURCES: u32 = 1 << 1;
}

const _: () = assert!(size_of::<PeerKey>() == 24 && size_of::<VerdictKey>() == 24);
const _: () = assert!(size_of::<Judged>() == 12 && size_of::<Control>() == 8);
const _: () =
    assert!(core::mem::offset_of!(VerdictKey, protocol) * 8 == 32 + VerdictKey::FIXED_BITS as usize);
