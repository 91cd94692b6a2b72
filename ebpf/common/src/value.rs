//! Values of the maps, and the rules by which programs may read them while the daemon writes.
//!
//! The kernel may hand the memory of a removed hash element to the next one at once, under a reader's eyes. Therefore
//! a [`Frontend`] never changes while it exists (it only names a record), and the daemon lets a grace period pass
//! between a removal and the next insertion. Everything that changes is in [`Service`], an array in shared memory
//! that the daemon stores to with one atomic word, and backends that a word names are not touched until no program
//! can still hold the word.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::net::{Address4, Address6, Port};

/// The Service behind a frontend.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Frontend {
    /// Index of its record, host order; never 0.
    pub service: u32,
}

/// A Service port in one family.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Service {
    /// A [`Span`], packed; read and written as one word.
    pub span: u64,
    /// Session affinity in seconds, 0 for none; read and written as one word.
    pub affinity_s: u32,
    /// Always zero.
    pub pad: u32,
}

/// The backends of a Service: `count` slots from `first` on. No slots means that connections are refused.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Span {
    /// Index of the first slot.
    pub first: u32,
    /// How many slots.
    pub count: u32,
}

impl Span {
    /// As one word: the count in the upper half.
    pub const fn pack(self) -> u64 {
        (self.count as u64) << 32 | self.first as u64
    }

    /// From one word.
    #[inline(always)]
    pub const fn unpack(word: u64) -> Self {
        Self { first: word as u32, count: (word >> 32) as u32 }
    }

    /// The slot that 32 random bits choose: each of the `count` slots with equal chance, without a division.
    /// With no slots the answer is `first`, which is nobody's: the caller asks for `count` before.
    #[inline(always)]
    pub const fn slot(self, random: u32) -> u32 {
        self.first.wrapping_add(((random as u64 * self.count as u64) >> 32) as u32)
    }
}

/// An IPv4 backend slot.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, FromBytes, Immutable, IntoBytes, KnownLayout,
)]
pub struct Backend4 {
    /// The pod's address.
    pub address: Address4,
    /// The pod's port.
    pub port: Port,
    /// Always zero.
    pub pad: u16,
}

/// An IPv6 backend slot.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, FromBytes, Immutable, IntoBytes, KnownLayout,
)]
pub struct Backend6 {
    /// The pod's address.
    pub address: Address6,
    /// The pod's port.
    pub port: Port,
    /// Always zero.
    pub pad: u16,
}

/// State: how a connected socket (TCP, or UDP after connect()) was translated.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Connection {
    /// What the client asked for; IPv4 in mapped form.
    pub frontend: Address6,
    /// Where it was sent; IPv4 in mapped form.
    pub backend: Address6,
    /// Port of the frontend.
    pub frontend_port: Port,
    /// Port of the backend.
    pub backend_port: Port,
    /// Index of the Service's record, host order.
    pub service: u32,
}

/// State: a slot for the socket whose cookie, masked, is the slot's index.
///
/// Measured on loopback: a hash insertion and its removal cost a connection 0.35 us (2.6 %), a slot a tenth of that.
/// Cookies are handed out one after another, so slots fill evenly; a socket that finds its slot taken by another goes to the
/// hash of spilled ones and marks the slot, for ever: who then looks for a cookie here looks there too.
///
/// Slots are claimed without a lock. Accepted flaw: of two sockets that claim one slot within the same nanoseconds
/// (their cookies differ by a multiple of the number of slots) one has no record, and its peer is the backend.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct ConnectionSlot {
    /// The socket's cookie, host order; 0 for a free slot.
    pub cookie: u64,
    /// Not 0: a socket of this slot may be among the spilled.
    pub spilled: u32,
    /// Fills the slot to a cache line; always zero.
    pub pad: [u32; 3],
    /// The socket's record.
    pub record: Connection,
}

impl ConnectionSlot {
    /// Index of a cookie's slot among [`crate::limits::CONNECTIONS_MAX`].
    #[inline(always)]
    pub const fn index(cookie: u64) -> u32 {
        cookie as u32 & (crate::limits::CONNECTIONS_MAX - 1)
    }
}

/// State: what the source of a datagram is rewritten to. Keyed by [`crate::key::Datagram`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Datagram {
    /// What the client sent to; IPv4 in mapped form.
    pub frontend: Address6,
    /// Port of the frontend.
    pub frontend_port: Port,
    /// Always zero.
    pub pad: u16,
    /// Index of the Service's record, host order.
    pub service: u32,
}

/// State: the backend that a client is held to, and since when it was last asked for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Affinity {
    /// `CLOCK_MONOTONIC` of the last connection, nanoseconds.
    pub used_ns: u64,
    /// The backend's address; IPv4 in mapped form.
    pub address: Address6,
    /// The backend's port.
    pub port: Port,
    /// Always zero.
    pub pad: [u16; 3],
}

const _: () = assert!(size_of::<Service>() == 16 && core::mem::offset_of!(Service, span) == 0);
const _: () = assert!(core::mem::offset_of!(Service, affinity_s) == 8);
const _: () = assert!(size_of::<Backend4>() == 8);
const _: () = assert!(size_of::<Backend6>() == 20);
const _: () = assert!(size_of::<Connection>() == 40 && align_of::<Connection>() == 4);
const _: () =
    assert!(size_of::<ConnectionSlot>() == 64 && core::mem::offset_of!(ConnectionSlot, spilled) == 8);
const _: () = assert!(size_of::<Datagram>() == 24 && align_of::<Datagram>() == 4);
const _: () = assert!(size_of::<Affinity>() == 32 && align_of::<Affinity>() == 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_survives_packing() {
        let span = Span { first: 0xdead_beef, count: 0x1_0000 };
        assert_eq!(Span::unpack(span.pack()), span);
    }

    #[test]
    fn every_slot_of_a_span_is_reached_and_none_beyond() {
        let span = Span { first: 7, count: 3 };
        assert_eq!(span.slot(0), 7);
        assert_eq!(span.slot(u32::MAX / 3 + 1), 8);
        assert_eq!(span.slot(u32::MAX), 9);
    }
}
