//! The maps, the globals that the loader writes, and the clock.

use aya_ebpf::{
    helpers::bpf_ktime_get_coarse_ns,
    macros::map,
    maps::{Array, HashMap, PerCpuArray},
};
use keelson_ebpf_common::{
    key::{Frontend4, Frontend6},
    layout,
    packet::{External, Tuple},
    wire::{Hop, Line, Verdict},
};

use crate::say;

#[map]
pub static WIRE_FRONTENDS: HashMap<Frontend4, External> =
    HashMap::with_max_entries(layout::WIRE_FRONTENDS.max_entries, layout::WIRE_FRONTENDS.flags);

#[map]
pub static EXTERNALS: HashMap<Frontend6, External> =
    HashMap::with_max_entries(layout::EXTERNALS.max_entries, layout::EXTERNALS.flags);

#[map]
pub static KNOWN: Array<Line> = Array::with_max_entries(layout::KNOWN.max_entries, layout::KNOWN.flags);

#[map]
pub static HOPS: PerCpuArray<Hop> =
    PerCpuArray::with_max_entries(layout::HOPS.max_entries, layout::HOPS.flags);

/// A packet's flow before and after. There is one a CPU, in a map, for what lies on the stack of a program and of whom it calls is
/// 512 bytes together. Programs on the wire do not interrupt each other.
#[repr(C)]
pub struct Flows {
    pub from: Tuple,
    pub to: Tuple,
}

#[map]
static PASSAGE: PerCpuArray<Flows> = PerCpuArray::with_max_entries(1, 0);

/// The flow for which the kernel is asked a way; as above.
#[map]
pub static QUESTION: PerCpuArray<Tuple> = PerCpuArray::with_max_entries(1, 0);

/// This CPU's place for them. `None` never.
#[inline(always)]
pub fn flows() -> Option<&'static mut Flows> {
    // SAFETY: a pointer from the map, whose memory is this CPU's, and zeros are a value. A packet has them taken once.
    Some(unsafe { &mut *PASSAGE.get_ptr_mut(0)? })
}

#[map]
static VERDICTS: PerCpuArray<u64> =
    PerCpuArray::with_max_entries(layout::VERDICTS.max_entries, layout::VERDICTS.flags);

global!(
    /// Lines of known flows, less one.
    KNOWN_MASK: u32 = layout::KNOWN.max_entries - 1, known_mask);
global!(
    /// Whether packets get the node's address here, too.
    TRANSLATES: u32 = 0, translates);
global!(
    /// The uplink's index.
    UPLINK: u32 = 0, uplink);
global!(
    /// The node's IPv4 address, 0 without one.
    NODE4: u32 = 0, node4);
global!(
    /// The node's IPv6 address, zeros without one.
    NODE6: [u32; 4] = [0; 4], node6);
global!(
    /// The first port of translated sources, host order.
    PORTS_FIRST: u32 = 0, ports_first);
global!(
    /// How many such ports there are.
    PORTS_COUNT: u32 = 0, ports_count);

/// `CLOCK_MONOTONIC`, nanoseconds, as of the last tick.
#[inline(always)]
pub fn now_ns() -> u64 {
    // SAFETY: takes no pointer.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// Counts on this CPU.
#[inline(always)]
pub fn count(verdict: Verdict) {
    say::decided(verdict);
    if let Some(counter) = VERDICTS.get_ptr_mut(verdict as u32) {
        // SAFETY: a pointer from the map, of this CPU alone. A count that is lost to a preemption is accepted, as at
        // the other hooks.
        unsafe { *counter += 1 }
    }
}
