//! The counters of what could not be done, which all programs of the node share.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use keelson_ebpf_common::{drop::Reason, layout};

#[map]
static DROPS: PerCpuArray<u64> =
    PerCpuArray::with_max_entries(layout::DROPS.max_entries, layout::DROPS.flags);

/// Counts one on this CPU.
#[inline(always)]
pub fn count(reason: Reason) {
    crate::say::counted(reason);
    if let Some(counter) = DROPS.get_ptr_mut(reason as u32) {
        // SAFETY: as in `state::count`.
        unsafe { *counter += 1 }
    }
}
