//! Sockets that a second process can bind before the first one goes, so that no query is lost at an upgrade.

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket, sockopt,
};
use std::{
    io,
    net::SocketAddr,
    os::fd::{AsRawFd, OwnedFd},
};
use tokio::net::{TcpListener, UdpSocket};

/// Connections that may wait to be taken.
const TCP_BACKLOG: i32 = 128;

pub(super) fn udp(address: SocketAddr) -> io::Result<UdpSocket> {
    UdpSocket::from_std(bound(SockType::Datagram, address)?.into())
}

/// A TCP listener on an address that others may listen on, too.
pub fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bound(SockType::Stream, address)?;
    listen(&socket, Backlog::new(TCP_BACKLOG)?)?;
    TcpListener::from_std(socket.into())
}

/// Nor need the address be on a link yet: the node daemon, which puts it there, may start later.
fn bound(kind: SockType, address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    setsockopt(&socket, sockopt::ReusePort, &true)?;
    // Of IPv6 sockets, too (`ipv6_setsockopt` hands this level on to IPv4's).
    setsockopt(&socket, sockopt::IpFreebind, &true)?;
    if address.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(socket)
}
