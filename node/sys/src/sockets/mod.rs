//! Sockets as the kernel lists them (sock_diag(7)), and putting an end to some of them.
//!
//! Everything blocks. A netlink socket sees the namespace that it was made in, so each namespace is asked by a thread of
//! its own. Does not decide whose time has come: that is the caller's predicate.

mod diag;
mod message;
mod namespaces;

use std::{collections::BTreeSet, io, net::SocketAddr, path::Path};

pub use diag::SocketsError;
use diag::{Diag, Kind};
pub use namespaces::{cookie_of, own_cookie};

/// A socket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Socket {
    /// Its cookie, the one that BPF programs see too.
    pub cookie: u64,
    /// Whom it is connected to; IPv4 on an AF_INET6 socket as IPv4.
    pub peer: Option<SocketAddr>,
}

/// A transport whose sockets are listed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Ports of the calling thread's namespace on which somebody listens (TCP) or to which an unconnected socket is bound
/// (UDP).
pub fn bound_ports() -> Result<BTreeSet<(u16, Transport)>, SocketsError> {
    let mut diag = Diag::open()?;
    let mut ports = BTreeSet::new();
    for (kind, transport) in [(Kind::TcpListen, Transport::Tcp), (Kind::Udp, Transport::Udp)] {
        let waiting = diag.list(kind)?.into_iter().filter(|socket| socket.peer().is_none());
        ports.extend(waiting.map(|socket| (socket.local_port(), transport)));
    }
    Ok(ports)
}

/// Ends the sockets of a transport that `doomed` names, of every namespace that a process below the cgroup lives in, and of the
/// caller's: who waits on one gets ECONNABORTED, and has to connect again; a TCP peer gets a reset. Answers how many. Of TCP
/// those that are connected or connecting are shown to `doomed`.
///
/// Needs CAP_NET_ADMIN over those namespaces, and a kernel with `CONFIG_INET_DIAG_DESTROY`.
pub fn destroy(
    cgroup: &Path,
    transport: Transport,
    doomed: impl Fn(&Socket) -> bool + Sync,
) -> Result<usize, SocketsError> {
    let failed = |source| SocketsError::Namespaces { cgroup: cgroup.into(), source };
    let mut destroyed = 0;
    for namespace in namespaces::below(cgroup).map_err(failed)? {
        destroyed += namespaces::within(namespace, || destroy_here(transport, &doomed)).map_err(failed)??;
    }
    Ok(destroyed)
}

fn destroy_here(transport: Transport, doomed: &impl Fn(&Socket) -> bool) -> Result<usize, SocketsError> {
    let kind = match transport {
        Transport::Tcp => Kind::Tcp,
        Transport::Udp => Kind::Udp,
    };
    let mut diag = Diag::open()?;
    let mut destroyed = 0;
    for socket in diag.list(kind)? {
        if doomed(&Socket { cookie: socket.cookie(), peer: socket.peer() }) {
            destroyed += usize::from(diag.destroy(kind, &socket)?);
        }
    }
    Ok(destroyed)
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
