//! The counters of what could not be done, which all programs of the node share.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use keelson_ebpf_common::{drop::Reason, layout};

use crate::say;

#[map]
static DROPS: PerCpuArray<u64> =
    PerCpuArray::with_max_entries(layout::DROPS.max_entries, layout::DROPS.flags);

/// Counts one decision on this CPU.
#[inline(always)]
pub fn count(reason: Reason) {
    say::counted(reason);
    if let Some(counter) = DROPS.get_ptr_mut(reason as u32) {
        // SAFETY: a non-null pointer from the map, of this CPU alone. A program may be preempted by another on the
        // same CPU between load and store, which loses a count: accepted, an atomic would cost the hot CPU more.
        unsafe { *counter += 1 }
    }
}
