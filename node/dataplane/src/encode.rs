//! Keys of plans as keys of maps, and back.

use std::net::IpAddr;

use keelson_ebpf_common::{
    key,
    net::{Address4, Address6, Port, Protocol},
};

use crate::{
    ledger::Member,
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
            KernelKey::V4(key::Frontend4 { address: Address4::new(v4), port, protocol, reach: 0 })
        }
        IpAddr::V6(v6) => {
            KernelKey::V6(key::Frontend6 { address: Address6::new(v6), port, protocol, pad: 0 })
        }
    }
}

/// A key read back; `None` for one that [`frontend_key`] never makes, which no socket asks for either.
pub(crate) fn user_key(address: IpAddr, port: Port, protocol: u8) -> Option<FrontendKey> {
    let protocol = [Protocol::Tcp, Protocol::Udp].into_iter().find(|&p| p as u8 == protocol)?;
    Some(FrontendKey { address, port: port.number(), protocol })
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
