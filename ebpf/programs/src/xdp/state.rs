//! The maps, the globals that the loader writes for this program alone, and the clock.

use aya_ebpf::{
    bindings::bpf_fib_lookup as FibLookup,
    helpers::bpf_ktime_get_coarse_ns,
    macros::map,
    maps::{Array, HashMap, PerCpuArray},
};
use keelson_ebpf_common::{
    key::Frontend4,
    layout,
    packet::{External, Tuple},
    wire::{Hop, Line, Verdict, Way6},
};

use crate::say;

#[map]
pub static WIRE_FRONTENDS: HashMap<Frontend4, External> =
    HashMap::with_max_entries(layout::WIRE_FRONTENDS.max_entries, layout::WIRE_FRONTENDS.flags);

#[map]
pub static KNOWN: Array<Line> = Array::with_max_entries(layout::KNOWN.max_entries, layout::KNOWN.flags);

#[map]
pub static KNOWN6: Array<Way6> = Array::with_max_entries(layout::KNOWN6.max_entries, layout::KNOWN6.flags);

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

/// The flow for which the kernel is asked a way, and the question; as above.
#[repr(C)]
pub struct Question {
    pub flow: Tuple,
    pub route: FibLookup,
}

#[map]
pub static QUESTION: PerCpuArray<Question> = PerCpuArray::with_max_entries(1, 0);

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
    /// The same of IPv6.
    KNOWN6_MASK: u32 = layout::KNOWN6.max_entries - 1, known6_mask);
global!(
    /// Whether packets get the node's address here, too.
    TRANSLATES: u32 = 0, translates);

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
