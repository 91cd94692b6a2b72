//! Access to a packet: bytes in, bytes out, and the verdicts.
//!
//! By helpers rather than by direct access: they take packets whose head is not linear, and ask the verifier for nothing.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_RECOMPUTE_CSUM},
    helpers::{bpf_skb_load_bytes, bpf_skb_store_bytes},
};
use keelson_ebpf_common::drop::Reason;

use crate::drops;

/// `TC_ACT_UNSPEC`, which tcx calls `TCX_NEXT`: whoever else is on the hook decides.
pub const PASS: i32 = -1;
/// `TC_ACT_SHOT`.
pub const SHOT: i32 = 2;

/// Bytes of an Ethernet header.
pub const ETHERNET: u32 = 14;

/// Drops a packet, and counts why.
#[inline(always)]
pub fn drop(reason: Reason) -> i32 {
    drops::count(reason);
    SHOT
}

/// A type that any bytes are a value of, without padding.
///
/// # Safety
/// As it says.
pub unsafe trait Plain: Copy {}
// SAFETY: integers.
unsafe impl Plain for u8 {}
// SAFETY: integers.
unsafe impl Plain for u16 {}
// SAFETY: integers.
unsafe impl Plain for u32 {}
// SAFETY: an array has no padding of its own.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// Two bytes and a packet's headers.
///
/// # Safety
/// Any bytes are a value of it, it has no padding beyond two named bytes at its begin, and is aligned to four at most.
pub unsafe trait Head: Copy {}

/// Of [`Skb::set_judged`].
const JUDGED: u32 = 0x4b65;

/// A packet in a tc hook.
#[derive(Clone, Copy)]
pub struct Skb(pub *mut __sk_buff);

impl Skb {
    /// Bytes at an offset from the Ethernet header; `None` beyond the packet's end.
    #[inline(always)]
    pub fn load<T: Plain>(self, offset: u32) -> Option<T> {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the kernel's context; the helper writes exactly as many bytes as the value has, or fails.
        let failed = unsafe {
            bpf_skb_load_bytes(self.0.cast(), offset, value.as_mut_ptr().cast(), size_of::<T>() as u32)
        };
        // SAFETY: written, and any bytes are a value.
        if failed == 0 { Some(unsafe { value.assume_init() }) } else { None }
    }

    /// The packet's first bytes into a place: what is large is not moved.
    #[inline(always)]
    pub fn load_head<T: Head>(self, place: &mut MaybeUninit<T>) -> Option<&mut T> {
        let start = place.as_mut_ptr().cast::<u8>();
        // SAFETY: two bytes and the rest are all of the place; the helper writes exactly as many bytes, or fails.
        let failed = unsafe {
            start.cast::<u16>().write(0);
            bpf_skb_load_bytes(self.0.cast(), 0, start.add(2).cast(), size_of::<T>() as u32 - 2)
        };
        // SAFETY: written, and any bytes are a value.
        if failed == 0 { Some(unsafe { place.assume_init_mut() }) } else { None }
    }

    /// Writes the packet's first bytes.
    #[inline(always)]
    pub fn store_head<T: Head>(self, head: &T) -> Result<(), Reason> {
        // SAFETY: the bytes of the value behind the first two.
        let failed = unsafe {
            let start = core::ptr::from_ref(head).cast::<u8>().add(2);
            bpf_skb_store_bytes(self.0, 0, start.cast(), size_of::<T>() as u32 - 2, 0)
        };
        if failed == 0 { Ok(()) } else { Err(Reason::Unwritable) }
    }

    /// Writes the packet's first bytes where they have changed their length: a sum that a device has made of the packet
    /// follows.
    #[inline(always)]
    pub fn store_head_summed<T: Head>(self, head: &T) -> Result<(), Reason> {
        // SAFETY: as above.
        let failed = unsafe {
            let start = core::ptr::from_ref(head).cast::<u8>().add(2);
            let flags = u64::from(BPF_F_RECOMPUTE_CSUM);
            bpf_skb_store_bytes(self.0, 0, start.cast(), size_of::<T>() as u32 - 2, flags)
        };
        if failed == 0 { Ok(()) } else { Err(Reason::Unwritable) }
    }

    /// Writes bytes at an offset. Checksums are the caller's affair.
    #[inline(always)]
    pub fn store<T: Plain>(self, offset: u32, value: &T) -> Result<(), Reason> {
        // SAFETY: the kernel's context; the helper reads exactly as many bytes as the value has.
        let failed = unsafe {
            bpf_skb_store_bytes(self.0, offset, core::ptr::from_ref(value).cast(), size_of::<T>() as u32, 0)
        };
        if failed == 0 { Ok(()) } else { Err(Reason::Unwritable) }
    }

    /// The link that the packet is on.
    #[inline(always)]
    pub fn ifindex(self) -> u32 {
        // SAFETY: the kernel's context, in which this field is readable.
        unsafe { (&raw const (*self.0).ifindex).read_volatile() }
    }

    /// The link on which the node's stack took it; 0 for what the node itself sends.
    #[inline(always)]
    pub fn ingress_ifindex(self) -> u32 {
        // SAFETY: as above.
        unsafe { (&raw const (*self.0).ingress_ifindex).read_volatile() }
    }

    /// Marks a packet as one that was judged, or not, for whoever is next on this node.
    ///
    /// The kernel leaves this field alone between the hooks. What comes from a pod may bring it along: only where that was
    /// overwritten, it is believed.
    #[inline(always)]
    pub fn set_judged(self, judged: bool) {
        // SAFETY: the kernel's context, in which this field is writable.
        unsafe { (&raw mut (*self.0).tc_index).write_volatile(if judged { JUDGED } else { 0 }) };
    }

    /// As it was marked.
    #[inline(always)]
    pub fn is_judged(self) -> bool {
        // SAFETY: as above.
        unsafe { (&raw const (*self.0).tc_index).read_volatile() == JUDGED }
    }

    /// When its sender, a pod's socket, wants it to leave: `CLOCK_MONOTONIC`, nanoseconds; 0 where it says nothing.
    #[inline(always)]
    pub fn departs_ns(self) -> u64 {
        /// `BPF_SKB_TSTAMP_DELIVERY_MONO`; anything else is no such time.
        const DELIVERY: u8 = 1;
        // SAFETY: the kernel's context, in which these fields are readable.
        unsafe {
            let kind = (&raw const (*self.0).tstamp_type).read_volatile();
            let time = (&raw const (*self.0).tstamp).read_volatile();
            if kind == DELIVERY { time } else { 0 }
        }
    }

    /// How many packets it is to be cut into; 0 for none.
    #[inline(always)]
    pub fn pieces(self) -> u32 {
        // SAFETY: as above.
        unsafe { (&raw const (*self.0).gso_segs).read_volatile() }
    }

    /// Bytes from the Ethernet header on.
    #[inline(always)]
    pub fn len(self) -> u32 {
        // SAFETY: as above.
        unsafe { (&raw const (*self.0).len).read_volatile() }
    }

    /// The EtherType, host order.
    #[inline(always)]
    pub fn ether_type(self) -> u16 {
        // SAFETY: as above.
        u16::from_be(unsafe { (&raw const (*self.0).protocol).read_volatile() } as u16)
    }
}
