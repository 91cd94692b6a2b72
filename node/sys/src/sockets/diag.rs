//! A sock_diag(7) socket: lists sockets of its namespace, and ends them.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::PathBuf,
};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use super::message::{self, ACK, Answer, BY_FAMILY, DESTROY, DUMP, Described};

/// Bytes of a datagram at most: the kernel fills pages up to 32 KiB.
const DATAGRAM_BYTES: usize = 1 << 16;
/// `TCP_LISTEN` as a bit.
const LISTEN: u32 = 1 << 10;
/// `TCP_ESTABLISHED`, `TCP_SYN_SENT`, `TCP_FIN_WAIT1`, `TCP_FIN_WAIT2`, `TCP_CLOSE_WAIT`: a process may wait for the other side.
const CONNECTED: u32 = 1 << 1 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 8;

/// What went wrong with sockets.
#[derive(Debug, thiserror::Error)]
pub enum SocketsError {
    /// The kernel was built without what is needed, or the module is not there.
    #[error("the kernel cannot {doing} (it needs {option})")]
    Unsupported {
        /// What we were doing.
        doing: &'static str,
        /// The kernel's option.
        option: &'static str,
    },
    /// A question that the kernel did not answer.
    #[error("{doing} over sock_diag")]
    Netlink {
        /// What we were doing.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// Namespaces could not be found or entered.
    #[error("the network namespaces of the processes below {}", cgroup.display())]
    Namespaces {
        /// The cgroup.
        cgroup: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// What is listed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    TcpListen,
    Tcp,
    Udp,
}

impl Kind {
    fn protocol_and_states(self) -> (u8, u32) {
        match self {
            Self::TcpListen => (libc::IPPROTO_TCP as u8, LISTEN),
            Self::Tcp => (libc::IPPROTO_TCP as u8, CONNECTED),
            Self::Udp => (libc::IPPROTO_UDP as u8, u32::MAX),
        }
    }
}

pub(super) struct Diag(OwnedFd);

impl Diag {
    /// Of the calling thread's namespace.
    pub(super) fn open() -> Result<Self, SocketsError> {
        let protocol = SockProtocol::NetlinkSockDiag;
        let opened = socket(AddressFamily::Netlink, SockType::Datagram, SockFlag::SOCK_CLOEXEC, protocol);
        opened.map(Self).map_err(|e| netlink("opening a socket", e.into()))
    }

    /// The sockets of both families.
    pub(super) fn list(&mut self, kind: Kind) -> Result<Vec<Described>, SocketsError> {
        let (protocol, states) = kind.protocol_and_states();
        let mut found = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            let request = message::request(BY_FAMILY, DUMP, protocol, states, &message::any(family as u8));
            let errno = self.ask(&request, &mut found).map_err(|e| netlink("listing sockets", e))?;
            match errno {
                0 => {}
                libc::ENOENT => {
                    let option = "CONFIG_INET_DIAG and CONFIG_INET_UDP_DIAG";
                    return Err(SocketsError::Unsupported { doing: "list sockets", option });
                }
                errno => return Err(netlink("listing sockets", io::Error::from_raw_os_error(errno))),
            }
        }
        Ok(found)
    }

    /// Whether it was there still. The kernel finds it by its addresses and compares the cookie; of several sockets with
    /// the same (SO_REUSEPORT) it may find another, and then ends none.
    pub(super) fn destroy(&mut self, kind: Kind, socket: &Described) -> Result<bool, SocketsError> {
        let (protocol, _) = kind.protocol_and_states();
        let request = message::request(DESTROY, ACK, protocol, u32::MAX, socket);
        let errno = self.ask(&request, &mut Vec::new()).map_err(|e| netlink("ending a socket", e))?;
        match errno {
            0 => Ok(true),
            libc::ENOENT | libc::ESTALE => Ok(false),
            libc::EOPNOTSUPP => {
                let option = "CONFIG_INET_DIAG_DESTROY";
                Err(SocketsError::Unsupported { doing: "end another process' socket", option })
            }
            errno => Err(netlink("ending a socket", io::Error::from_raw_os_error(errno))),
        }
    }

    /// Sends a request and reads to the end of its answer, whose errno it answers.
    fn ask(&mut self, request: &[u8], found: &mut Vec<Described>) -> io::Result<i32> {
        send(self.0.as_raw_fd(), request, MsgFlags::empty())?;
        let mut buffer = vec![0; DATAGRAM_BYTES];
        loop {
            let length = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            for answer in message::answers(&buffer[..length])? {
                match answer {
                    Answer::Socket(socket) => found.push(socket),
                    Answer::End(errno) => return Ok(errno),
                }
            }
        }
    }
}

fn netlink(doing: &'static str, source: io::Error) -> SocketsError {
    SocketsError::Netlink { doing, source }
}
