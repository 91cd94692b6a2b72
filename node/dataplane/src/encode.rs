//! Keys of plans as keys of maps, and back.

use std::net::IpAddr;

use keelson_ebpf_common::{
    key,
    net::{Address4, Address6, Port, Protocol},
};

use crate::plan::{Backend, FrontendKey};

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

pub(crate) fn member_key(&(service, backend): &(u32, Backend)) -> key::AffinityMember {
    key::AffinityMember {
        service,
        port: Port::new(backend.port()),
        pad: 0,
        address: Address6::from_ip(backend.ip()),
    }
}
