//! Values of the maps, and the rules by which programs may read them while the daemon writes.
//!
//! An IPv4 frontend is a [`Line4`], which never changes while it is published: a change publishes another line and then
//! takes back the first. A reader that finds either is right.
//! An IPv6 frontend leads to a record, and a record is one word, the [`Target`], which the daemon stores atomically into
//! shared memory. A target, in a record or in a line, names the slots that hold the backends.
//!
//! The daemon fills what nothing names before it names it, and does not touch what was named, nor give a line, a record or a
//! hash element to another frontend, until a grace period has passed: the kernel may hand the memory of a removed hash
//! element to the next one under a reader's eyes.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::net::{Address4, Address6, Port};

/// Backends that a line has room for; more lie in slots.
pub const INLINE_MAX: u32 = 5;
/// In [`Head4::count`]: the line's first word is a [`Target`].
pub const IN_SLOTS: u8 = u8::MAX;

/// An IPv4 frontend and where it leads, in one cache line: the only one that most lookups touch, hit or miss.
///
/// A frontend lies in its own line, or, when that is taken, up to `reach` lines further in the same shard, round its end.
///
/// The kernel lets an array's elements begin where its own head ends, at no multiple of a cache line: 8 bytes before one in
/// Linux 6.18, 16 after one in 6.1. Hence the spare word; in 6.1 the last two backends are in the next line.
///
/// The daemon writes an element whole, by a copy of which the kernel does not say how it stores words. So a line is filled
/// first and published by one byte that changes, as `reach` is raised: the other bytes are stored again as they were.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Line4 {
    /// Always zero.
    pub spare: u64,
    /// [`crate::key::Frontend4::word`].
    pub key: u64,
    /// What is to know about the line.
    pub head: Head4,
    /// [`Backend4::word`] of each backend; or, if they are in slots, a [`Target`], packed.
    pub leads: [u64; INLINE_MAX as usize],
}

/// The second half of what a lookup compares.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Head4 {
    /// 1 if the line counts, else 0.
    pub published: u8,
    /// How far from here frontends lie that belong here, whether or not the line itself is in use. Never shrinks.
    pub reach: u8,
    /// Backends in the line, or [`IN_SLOTS`].
    pub count: u8,
    /// Always zero.
    pub pad: u8,
    /// A number that a Service keeps for its life, for metrics; none has one yet: zero.
    pub service: u32,
}

impl Head4 {
    /// From one word, as a program loads it.
    #[inline(always)]
    pub fn from_word(word: u64) -> Self {
        zerocopy::transmute!(word)
    }
}

/// The record behind an IPv6 frontend.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Frontend6 {
    /// Index of its record, host order.
    pub service: u32,
}

/// Where a Service leads, as one word: 24 bits of first slot, 20 of count, 20 of affinity.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Target {
    /// The backends' slots.
    pub span: Span,
    /// Session affinity in seconds, 0 for none; cut to what fits (twelve days; the API allows one).
    pub affinity_s: u32,
}

impl Target {
    const FIELD: u64 = (1 << 20) - 1;

    /// As one word.
    pub const fn pack(self) -> u64 {
        let affinity_s =
            if self.affinity_s as u64 > Self::FIELD { Self::FIELD } else { self.affinity_s as u64 };
        affinity_s << 44 | (self.span.count as u64 & Self::FIELD) << 24 | (self.span.first as u64 & 0xff_ffff)
    }

    /// From one word.
    #[inline(always)]
    pub const fn unpack(word: u64) -> Self {
        let count = (word >> 24 & Self::FIELD) as u32;
        Self { span: Span { first: word as u32 & 0xff_ffff, count }, affinity_s: (word >> 44) as u32 }
    }
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

impl Backend4 {
    /// As one word.
    pub fn word(self) -> u64 {
        zerocopy::transmute!(self)
    }

    /// Back from a word.
    #[inline(always)]
    pub fn from_word(word: u64) -> Self {
        zerocopy::transmute!(word)
    }
}

/// State: how a connected socket (TCP, or UDP after connect()) was translated, and what is measured of it.
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
    /// [`crate::metrics::Control::epoch`] at connect().
    pub epoch: u32,
    /// Until established, the low bits of the clock at connect(), ticks; then how long it took, ticks. 0: not measured.
    pub connect: u32,
    /// The low bits of the clock when it was established, in units of 2^[`crate::metrics::SINCE_LOG2`] ns; 0 before.
    pub established: u32,
    /// The frontend's IANA protocol number, 24 bits up. Below it, of the two that end a measured connection (the last close()
    /// and TCP's own end) how many came: the second one frees the record.
    pub state: u32,
}

impl Connection {
    /// The first [`Self::state`].
    #[inline(always)]
    pub const fn begin(protocol: u8) -> u32 {
        (protocol as u32) << 24
    }

    /// The protocol in a [`Self::state`].
    #[inline(always)]
    pub const fn protocol(state: u32) -> u8 {
        (state >> 24) as u8
    }

    /// How many ends came, in a [`Self::state`].
    #[inline(always)]
    pub const fn ends(state: u32) -> u32 {
        state & 0xff
    }
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
    /// The socket's record; fills the slot to a cache line.
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
    pub pad: [u16; 3],
}

/// State: whose sockets are not translated. Keyed by the cookie of the pod's network namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
pub struct Bypass {
    /// Name of the host's end of the pod's link, zeros behind it: by it the daemon knows the pod when its namespace is gone.
    pub link: [u8; 16],
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

const _: () = assert!(size_of::<Line4>() == 64 && size_of::<Head4>() == 8 && INLINE_MAX < IN_SLOTS as u32);
const _: () = assert!(core::mem::offset_of!(Line4, leads) == 24);
const _: () = assert!(size_of::<Backend4>() == 8);
const _: () = assert!(size_of::<Backend6>() == 20);
const _: () = assert!(size_of::<Connection>() == 52 && align_of::<Connection>() == 4);
const _: () =
    assert!(size_of::<ConnectionSlot>() == 64 && core::mem::offset_of!(ConnectionSlot, spilled) == 8);
const _: () = assert!(size_of::<Datagram>() == 24 && align_of::<Datagram>() == 4);
const _: () = assert!(size_of::<Affinity>() == 32 && align_of::<Affinity>() == 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_survives_packing() {
        let target = Target { span: Span { first: 0xab_cdef, count: 0x8_0001 }, affinity_s: 86_400 };
        assert_eq!(Target::unpack(target.pack()), target);
        assert_eq!(Target::unpack(Target { affinity_s: u32::MAX, ..target }.pack()).span, target.span);
    }

    #[test]
    fn every_slot_of_a_span_is_reached_and_none_beyond() {
        let span = Span { first: 7, count: 3 };
        assert_eq!(span.slot(0), 7);
        assert_eq!(span.slot(u32::MAX / 3 + 1), 8);
        assert_eq!(span.slot(u32::MAX), 9);
    }
}
