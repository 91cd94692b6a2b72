//! Keys of the tables. Every byte counts in a comparison, so padding is a named field that is always zero.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::net::{Address4, Address6, Port};

/// What a client connects to, IPv4. Compared exactly.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, FromBytes, Immutable, IntoBytes, KnownLayout,
)]
pub struct Frontend4 {
    /// The Service's address.
    pub address: Address4,
    /// The Service's port.
    pub port: Port,
    /// IANA protocol number, see [`crate::net::Protocol`].
    pub protocol: u8,
    /// Always zero.
    pub pad: u8,
}

impl Frontend4 {
    /// All of it as one word, which is never 0: no frontend has protocol 0.
    #[inline(always)]
    pub fn word(self) -> u64 {
        zerocopy::transmute!(self)
    }

    /// As an IPv6 frontend with a mapped address, for maps that serve both families.
    #[inline(always)]
    pub const fn to_mapped(self) -> Frontend6 {
        Frontend6 { address: self.address.to_mapped(), port: self.port, protocol: self.protocol, pad: 0 }
    }

    /// Back from a word.
    pub fn from_word(word: u64) -> Self {
        zerocopy::transmute!(word)
    }

    /// Where a key belongs, of 2^`shards_log2` shards (two at least) of `lines` lines each: the shard and the line in it.
    /// Knuth's multiplicative hash by the golden ratio, folded: of its upper bits alone neither the upper nor the lower are
    /// spread evenly once the others are given, as successive addresses fall at three distances from each other.
    #[inline(always)]
    pub const fn home(word: u64, shards_log2: u32, lines: u32) -> (u32, u32) {
        let hash = word.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let hash = hash ^ hash >> 29;
        ((hash >> (64 - shards_log2)) as u32, ((hash as u32 as u64 * lines as u64) >> 32) as u32)
    }
}

/// What a client connects to, IPv6. As a frontend never a mapped address: those are looked up as IPv4.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, FromBytes, Immutable, IntoBytes, KnownLayout,
)]
pub struct Frontend6 {
    /// The Service's address.
    pub address: Address6,
    /// The Service's port.
    pub port: Port,
    /// IANA protocol number, see [`crate::net::Protocol`].
    pub protocol: u8,
    /// Always zero.
    pub pad: u8,
}

/// A flow of an unconnected UDP socket: whose answers are made to come from the Service.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Datagram {
    /// The socket's cookie, host order.
    pub cookie: u64,
    /// The backend's address; IPv4 in mapped form.
    pub backend: Address6,
    /// The backend's port.
    pub backend_port: Port,
    /// Always zero.
    pub pad: [u16; 3],
}

/// A client held to its backend by `sessionAffinity: ClientIP`.
///
/// Before connect() a socket has no source address, so the client is its network namespace: a pod, or the node.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Affinity {
    /// Cookie of the client's network namespace, host order.
    pub client: u64,
    /// What the client asks for; IPv4 in mapped form.
    pub frontend: Frontend6,
    /// Always zero.
    pub pad: u32,
}

/// States that a backend is one of the Service's; asked before a client is sent back to a remembered backend.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, FromBytes, Immutable, IntoBytes, KnownLayout,
)]
pub struct AffinityMember {
    /// What clients ask for; IPv4 in mapped form.
    pub frontend: Frontend6,
    /// The backend's address; IPv4 in mapped form.
    pub address: Address6,
    /// The backend's port.
    pub port: Port,
    /// Always zero.
    pub pad: u16,
}

const _: () = assert!(size_of::<Frontend4>() == 8);
const _: () = assert!(size_of::<Frontend6>() == 20 && align_of::<Frontend6>() == 4);
const _: () = assert!(size_of::<Datagram>() == 32 && align_of::<Datagram>() == 8);
const _: () = assert!(size_of::<Affinity>() == 32 && align_of::<Affinity>() == 8);
const _: () = assert!(size_of::<AffinityMember>() == 40 && align_of::<AffinityMember>() == 4);
