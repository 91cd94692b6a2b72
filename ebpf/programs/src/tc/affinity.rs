//! `sessionAffinity: ClientIP` where clients are known by their address: the backend that each is held to. The same for the programs at
//! tc and on the uplink's wire, which share what they remember.

use aya_ebpf::{
    helpers::{bpf_get_prandom_u32, bpf_ktime_get_ns},
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray},
};
use keelson_ebpf_common::{
    key::{AffinityMember, Frontend6},
    layout,
    net::{Address6, Port},
    packet::{Client, Tuple},
    value,
};

use crate::outside;

#[map]
static CLIENTS: LruHashMap<Client, value::Affinity> =
    LruHashMap::with_max_entries(layout::CLIENTS.max_entries, layout::CLIENTS.flags);

#[map]
static EXTERNAL_AFFINITY: Array<u32> =
    Array::with_max_entries(layout::EXTERNAL_AFFINITY.max_entries, layout::EXTERNAL_AFFINITY.flags);

#[map]
static EXTERNAL_MEMBERS: HashMap<AffinityMember, u8> =
    HashMap::with_max_entries(layout::EXTERNAL_MEMBERS.max_entries, layout::EXTERNAL_MEMBERS.flags);

/// What is looked up and written: one a CPU, off the stack.
struct Draft {
    used: value::Affinity,
    client: Client,
    member: AffinityMember,
}

#[map]
static HELD: PerCpuArray<Draft> = PerCpuArray::with_max_entries(1, 0);

const NANOSECONDS: u64 = 1_000_000_000;

/// A backend.
#[derive(Clone, Copy)]
pub struct Backend {
    pub address: Address6,
    pub port: Port,
}

#[inline(always)]
pub fn random() -> u32 {
    // SAFETY: takes no pointer.
    unsafe { bpf_get_prandom_u32() }
}

/// The backend that a client is held to while that is one of the Service's, else the one chosen now.
#[inline(always)]
pub fn hold(
    members: &HashMap<AffinityMember, u8>,
    client: &Address6,
    frontend: &Frontend6,
    affinity_s: u32,
    chosen: Backend,
) -> Backend {
    let Some(draft) = HELD.get_ptr_mut(0) else { return chosen };
    // SAFETY: a pointer from the map, whose memory is this CPU's, and zeros are a value. Programs at one hook do not interrupt
    // each other.
    let draft = unsafe { &mut *draft };
    // SAFETY: takes no pointer.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    draft.client = Client { address: *client, frontend: *frontend };
    let mut backend = chosen;
    // SAFETY: an LRU element may be given away while it is read; a torn value fails the membership test below or names a
    // backend that the Service has.
    if let Some(held) = unsafe { CLIENTS.get(&draft.client) } {
        let (address, port) = (held.address, held.port);
        draft.member = AffinityMember { frontend: *frontend, address, port, pad: 0 };
        let fresh = now_ns.wrapping_sub(held.used_ns) < u64::from(affinity_s) * NANOSECONDS;
        if fresh && members.get_ptr(&draft.member).is_some() {
            backend = Backend { address, port };
        }
    }
    draft.used =
        value::Affinity { used_ns: now_ns, address: backend.address, port: backend.port, pad: [0; 3] };
    // As at the sockets: without room the client is free to be sent elsewhere next time.
    let _ = CLIENTS.insert(&draft.client, &draft.used, 0);
    backend
}

/// Writes where a client goes that asks for a frontend reached from outside, of this number and with so many slots from `first` on, one
/// at least. Not an `Option` of a backend, for the verifier's sake: see `transport::Passage`.
#[inline(never)]
pub fn hold_external(from: &Tuple, number: u32, first: u32, count: u32, to: &mut Tuple) -> bool {
    let slot = first + (u64::from(random()) * u64::from(count) >> 32) as u32;
    let Some(chosen) = outside::backend(slot) else { return false };
    let chosen = Backend { address: chosen.address, port: chosen.port };
    let affinity_s = EXTERNAL_AFFINITY.get(number).copied().unwrap_or(0);
    let frontend =
        Frontend6 { address: from.destination, port: from.destination_port, protocol: from.protocol, pad: 0 };
    let held = hold(&EXTERNAL_MEMBERS, &from.source, &frontend, affinity_s, chosen);
    (to.destination, to.destination_port) = (held.address, held.port);
    true
}
