//! Keys, backends and lines of plans as those of maps, and back.

use std::net::{IpAddr, Ipv4Addr};

use keelson_ebpf_common::{
    key,
    net::{Address4, Address6, Port, Protocol},
    value::{Backend4, Head4, IN_SLOTS, Line4, Target},
};

use crate::{
    ledger::{Leads, Line, Member},
    plan::{Backend, FrontendKey},
};

/// A frontend's key in the map of its family.
pub(crate) enum KernelKey {
    V4(key::Frontend4),
    V6(key::Frontend6),
}

pub(crate) fn frontend_key(key: &FrontendKey) -> KernelKey {
    let (port, protocol) = (Port::new(key.port), key.protocol as u8);
    match key.address {
        IpAddr::V4(v4) => {
            KernelKey::V4(key::Frontend4 { address: Address4::new(v4), port, protocol, pad: 0 })
        }
        IpAddr::V6(v6) => {
            KernelKey::V6(key::Frontend6 { address: Address6::new(v6), port, protocol, pad: 0 })
        }
    }
}

/// A key read back; `None` for one that [`frontend_key`] never makes, which no socket asks for either.
pub(crate) fn user_key(address: IpAddr, port: Port, protocol: u8) -> Option<FrontendKey> {
    let protocol =
        [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().find(|&p| p as u8 == protocol)?;
    Some(FrontendKey { address, port: port.number(), protocol })
}

pub(crate) fn backend4(address: Ipv4Addr, port: Port) -> Backend4 {
    Backend4 { address: Address4::new(address), port, pad: 0 }
}

pub(crate) fn user_backend4(word: u64) -> Backend {
    let Backend4 { address, port, .. } = Backend4::from_word(word);
    Backend::new(address.to_ip().into(), port.number())
}

/// A line, not yet published.
pub(crate) fn line(line: &Line) -> Line4 {
    let mut leads = [0; _];
    let count = match &line.leads {
        Leads::Here(backends) => {
            for (word, backend) in leads.iter_mut().zip(backends) {
                if let IpAddr::V4(v4) = backend.ip() {
                    *word = backend4(v4, Port::new(backend.port())).word();
                }
            }
            backends.len() as u8
        }
        &Leads::Slots { span, affinity_s } => {
            leads[0] = Target { span, affinity_s }.pack();
            IN_SLOTS
        }
    };
    let key = match frontend_key(&line.key) {
        KernelKey::V4(key) => key.word(),
        KernelKey::V6(_) => 0,
    };
    Line4 { spare: 0, key, head: Head4 { published: 0, reach: line.reach, count, pad: 0, service: 0 }, leads }
}

pub(crate) fn member_key((frontend, backend): &Member) -> key::AffinityMember {
    let frontend = match frontend_key(frontend) {
        KernelKey::V4(key) => key.to_mapped(),
        KernelKey::V6(key) => key,
    };
    let (address, port) = (Address6::from_ip(backend.ip()), Port::new(backend.port()));
    key::AffinityMember { frontend, address, port, pad: 0 }
}

/// A member read back; `None` as for [`user_key`].
pub(crate) fn user_member(member: &key::AffinityMember) -> Option<Member> {
    let key::Frontend6 { address, port, protocol, .. } = member.frontend;
    let frontend = user_key(address.to_ip(), port, protocol)?;
    Some((frontend, Backend::new(member.address.to_ip(), member.port.number())))
}
