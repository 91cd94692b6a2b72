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
    /// Zero in a key. In the table, of a bucket's first entry: see [`crate::value::Bucket4`].
    pub reach: u8,
}

impl Frontend4 {
    /// The bits of [`Self::word`] that hold `reach`.
    pub const REACH: u64 = u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 0, 0xff]);

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

    /// The bucket where a key belongs, of 2^`buckets_log2`: Knuth's multiplicative hash by the golden ratio.
    #[inline(always)]
    pub fn bucket(word: u64, buckets_log2: u32) -> u32 {
        (word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - buckets_log2)) as u32
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

const _: () = assert!(size_of::<Frontend4>() == 8 && core::mem::offset_of!(Frontend4, reach) == 7);
const _: () = assert!(size_of::<Frontend6>() == 20 && align_of::<Frontend6>() == 4);
const _: () = assert!(size_of::<Datagram>() == 32 && align_of::<Datagram>() == 8);
const _: () = assert!(size_of::<Affinity>() == 32 && align_of::<Affinity>() == 8);
const _: () = assert!(size_of::<AffinityMember>() == 40 && align_of::<AffinityMember>() == 4);
