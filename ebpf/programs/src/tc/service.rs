//! Services asked for by address, packet by packet: the same frontends and backends as at the sockets.

use aya_ebpf::{
    helpers::{bpf_get_prandom_u32, bpf_ktime_get_ns},
    maps::HashMap,
};
use keelson_ebpf_common::{
    key::{AffinityMember, Frontend4, Frontend6},
    net::{Address6, Port},
    packet::{Client, Tuple},
    value::{self, Backend4},
};

use crate::{
    frontend::{self, Leads4},
    maps::{AFFINITY_MEMBERS, BACKENDS4, BACKENDS6},
    state::CLIENTS,
};

const NANOSECONDS: u64 = 1_000_000_000;

/// A backend.
#[derive(Clone, Copy)]
pub struct Backend {
    pub address: Address6,
    pub port: Port,
}

/// What the tables say about a destination.
pub enum Choice {
    /// Not a Service.
    NotService,
    /// A Service without backends.
    Refuse,
    /// The tables contradict each other.
    BadRecord,
    /// There.
    Backend(Backend),
}

/// Looks up where a new flow goes.
#[inline(never)]
pub fn choose(tuple: &Tuple) -> Choice {
    let (port, protocol) = (tuple.destination_port, tuple.protocol);
    let frontend = Frontend6 { address: tuple.destination, port, protocol, pad: 0 };
    let (affinity_s, backend) = if let Some(address) = tuple.destination.mapped() {
        if !frontend::may_be4(address) {
            return Choice::NotService;
        }
        let key = Frontend4 { address, port, protocol, pad: 0 };
        let target = match frontend::find4(key) {
            None => return Choice::NotService,
            Some(Leads4::Here(backends)) if backends.is_empty() => return Choice::Refuse,
            Some(Leads4::Here(backends)) => {
                let Backend4 { address, port, .. } = backends.pick(random());
                return Choice::Backend(Backend { address: address.to_mapped(), port });
            }
            Some(Leads4::Slots(target)) => target,
        };
        if target.span.count == 0 {
            return Choice::Refuse;
        }
        let slot = BACKENDS4.get(target.span.slot(random()));
        (target.affinity_s, slot.map(|slot| Backend { address: slot.address.to_mapped(), port: slot.port }))
    } else {
        let target = match frontend::find6(&frontend) {
            Ok(Some(target)) => target,
            Ok(None) => return Choice::NotService,
            Err(()) => return Choice::BadRecord,
        };
        if target.span.count == 0 {
            return Choice::Refuse;
        }
        let slot = BACKENDS6.get(target.span.slot(random()));
        (target.affinity_s, slot.map(|slot| Backend { address: slot.address, port: slot.port }))
    };
    match backend {
        None => Choice::BadRecord,
        Some(chosen) if affinity_s == 0 => Choice::Backend(chosen),
        Some(chosen) => {
            Choice::Backend(hold(&AFFINITY_MEMBERS, &tuple.source, &frontend, affinity_s, chosen))
        }
    }
}

#[inline(always)]
pub fn random() -> u32 {
    // SAFETY: takes no pointer.
    unsafe { bpf_get_prandom_u32() }
}

/// `sessionAffinity: ClientIP`, as at the sockets, but the client is an address: the backend that it is held to while
/// that is one of the Service's, else the one chosen now.
#[inline(always)]
pub fn hold(
    members: &HashMap<AffinityMember, u8>,
    client: &Address6,
    frontend: &Frontend6,
    affinity_s: u32,
    chosen: Backend,
) -> Backend {
    // SAFETY: takes no pointer.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    let key = Client { address: *client, frontend: *frontend };
    let mut backend = chosen;
    // SAFETY: an LRU element may be given away while it is read; a torn value fails the membership test below or names a
    // backend that the Service has.
    if let Some(held) = unsafe { CLIENTS.get(&key) } {
        let (address, port) = (held.address, held.port);
        let member = AffinityMember { frontend: *frontend, address, port, pad: 0 };
        let fresh = now_ns.wrapping_sub(held.used_ns) < u64::from(affinity_s) * NANOSECONDS;
        if fresh && members.get_ptr(&member).is_some() {
            backend = Backend { address, port };
        }
    }
    let value =
        value::Affinity { used_ns: now_ns, address: backend.address, port: backend.port, pad: [0; 3] };
    // As at the sockets: without room the client is free to be sent elsewhere next time.
    let _ = CLIENTS.insert(&key, &value, 0);
    backend
}
