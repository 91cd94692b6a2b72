//! Services asked for by address, packet by packet: the same frontends and backends as at the sockets.

use keelson_ebpf_common::{
    key::{Frontend4, Frontend6},
    packet::Tuple,
    value::Backend4,
};

use crate::{
    affinity::{Backend, hold, random},
    frontend::{self, Leads4},
    maps::{AFFINITY_MEMBERS, BACKENDS4, BACKENDS6},
};

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
