//! The stream of events: nothing but one load of a warm word while nobody listens.
//!
//! Which sockets are told of is a matter of their cookies, so that of a connection both ends are told or none. How many is the
//! daemon's decision, by the rate that it sees.

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use keelson_ebpf_common::{
    drop::Reason,
    metrics::{Flow, What},
};

use crate::{
    drops,
    maps::{CONTROL, FLOWS},
};

/// Tells of an event, if somebody listens and this socket is among the chosen.
#[inline(always)]
pub fn tell(cookie: u64, what: What, fill: impl FnOnce(&mut Flow)) {
    let Some(control) = CONTROL.get_ptr(0) else { return };
    // SAFETY: a pointer from the map; one load of an aligned word.
    let sample = unsafe { (&raw const (*control).sample).read_volatile() };
    if sample == 0 || cookie & u64::from(sample - 1) != 0 {
        return;
    }
    let Some(mut entry) = FLOWS.reserve::<Flow>(0) else { return drops::count(Reason::FlowsFull) };
    // SAFETY: zero is a value of every field.
    let flow = unsafe {
        entry.as_mut_ptr().write_bytes(0, 1);
        entry.assume_init_mut()
    };
    (flow.cookie, flow.what) = (cookie, what as u8);
    fill(flow);
    entry.submit(BPF_RB_NO_WAKEUP.into());
}
