//! The maps, the globals that the loader writes, and the clock.

use aya_ebpf::{
    helpers::bpf_ktime_get_coarse_ns,
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray},
};
use keelson_ebpf_common::{
    key::Frontend4,
    layout,
    packet::{External, Flow, Tuple},
    wire::{Hop, Line, Verdict},
};

#[map]
pub static WIRE_FRONTENDS: HashMap<Frontend4, External> =
    HashMap::with_max_entries(layout::WIRE_FRONTENDS.max_entries, layout::WIRE_FRONTENDS.flags);

#[map]
pub static KNOWN: Array<Line> = Array::with_max_entries(layout::KNOWN.max_entries, layout::KNOWN.flags);

#[map]
pub static HOPS: PerCpuArray<Hop> =
    PerCpuArray::with_max_entries(layout::HOPS.max_entries, layout::HOPS.flags);

#[map]
static VERDICTS: PerCpuArray<u64> =
    PerCpuArray::with_max_entries(layout::VERDICTS.max_entries, layout::VERDICTS.flags);

#[map]
pub static CONNTRACK: HashMap<Tuple, Flow> =
    HashMap::with_max_entries(layout::CONNTRACK.max_entries, layout::CONNTRACK.flags);

#[map]
pub static CONNTRACK_NEW: LruHashMap<Tuple, Flow> =
    LruHashMap::with_max_entries(layout::CONNTRACK_NEW.max_entries, layout::CONNTRACK_NEW.flags);

#[map]
pub static CONNTRACK_GATE: Array<u32> =
    Array::with_max_entries(layout::CONNTRACK_GATE.max_entries, layout::CONNTRACK_GATE.flags);

/// Lines of known flows, less one.
#[unsafe(no_mangle)]
static KNOWN_MASK: u32 = layout::KNOWN.max_entries - 1;

/// The uplink's index.
#[unsafe(no_mangle)]
static UPLINK: u32 = 0;

#[inline(always)]
pub fn known_mask() -> u32 {
    // SAFETY: a static of this program. Volatile: what the compiler sees is not what the loader writes.
    unsafe { (&raw const KNOWN_MASK).read_volatile() }
}

#[inline(always)]
pub fn uplink() -> u32 {
    // SAFETY: as above.
    unsafe { (&raw const UPLINK).read_volatile() }
}

/// `CLOCK_MONOTONIC`, nanoseconds, as of the last tick.
#[inline(always)]
pub fn now_ns() -> u64 {
    // SAFETY: takes no pointer.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// Counts on this CPU.
#[inline(always)]
pub fn count(verdict: Verdict) {
    if let Some(counter) = VERDICTS.get_ptr_mut(verdict as u32) {
        // SAFETY: a pointer from the map, of this CPU alone. A count that is lost to a preemption is accepted, as at
        // the other hooks.
        unsafe { *counter += 1 }
    }
}
