//! `sessionAffinity: ClientIP`: a client goes back to its backend while that is one of the Service's.
//!
//! Off the hot path: called only for Services that ask for it.

use aya_ebpf::helpers::{bpf_get_netns_cookie, bpf_ktime_get_ns};
use keelson_ebpf_common::{
    key::{self, Frontend6},
    net::{Address6, Port},
    value,
};

use crate::{
    context::Hook,
    maps::{AFFINITY, AFFINITY_MEMBERS},
};

const NANOSECONDS: u64 = 1_000_000_000;

/// The backend that the client is held to, or the one `chosen` now; either way the time starts anew.
///
/// Two first connections of one client at the same time may get two backends; the later record wins from then on.
#[inline(always)]
pub fn hold(
    hook: &Hook,
    frontend: Frontend6,
    affinity_s: u32,
    chosen: Address6,
    chosen_port: Port,
) -> (Address6, Port) {
    // SAFETY: the helper takes this context; both helpers are allowed in every sock_addr hook.
    let (client, now_ns) = unsafe { (bpf_get_netns_cookie(hook.raw().cast()), bpf_ktime_get_ns()) };
    let key = key::Affinity { client, frontend, pad: 0 };
    // SAFETY: an LRU element may be given away while it is read; a torn value fails the membership test below or
    // names a backend that the Service has.
    if let Some(held) = unsafe { AFFINITY.get(&key) } {
        let (address, port, used_ns) = (held.address, held.port, held.used_ns);
        let member = key::AffinityMember { frontend, address, port, pad: 0 };
        let fresh = now_ns.wrapping_sub(used_ns) < u64::from(affinity_s) * NANOSECONDS;
        if fresh && AFFINITY_MEMBERS.get_ptr(&member).is_some() {
            remember(&key, now_ns, address, port);
            return (address, port);
        }
    }
    remember(&key, now_ns, chosen, chosen_port);
    (chosen, chosen_port)
}

#[inline(always)]
fn remember(key: &key::Affinity, used_ns: u64, address: Address6, port: Port) {
    let value = value::Affinity { used_ns, address, port, pad: [0; 3] };
    // An LRU map takes every insertion unless memory for it is contended on this very CPU; then the client is simply
    // free to be sent elsewhere next time.
    let _ = AFFINITY.insert(key, &value, 0);
}
