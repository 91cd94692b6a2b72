//! The bytes of `linux/inet_diag.h` and the header around them. Numbers are in host order, addresses and ports in network
//! order.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use super::invalid;

/// `SOCK_DIAG_BY_FAMILY` and `SOCK_DESTROY`, `linux/sock_diag.h`.
pub(super) const BY_FAMILY: u16 = 20;
pub(super) const DESTROY: u16 = 21;
/// `NLM_F_REQUEST`, `NLM_F_ACK`, `NLM_F_DUMP`.
pub(super) const REQUEST: u16 = 1;
pub(super) const ACK: u16 = 4;
pub(super) const DUMP: u16 = 0x300;
/// `NLMSG_ERROR`, `NLMSG_DONE`.
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// Bytes of `struct nlmsghdr`, of `struct inet_diag_sockid`, of the head of `struct inet_diag_msg` before it.
const HEADER: usize = 16;
const ID: usize = 48;
const MESSAGE_HEAD: usize = 4;

/// A socket as the kernel described it: family and `struct inet_diag_sockid`, kept as they came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Described {
    pub(super) family: u8,
    id: [u8; ID],
}

impl Described {
    pub(super) fn local_port(&self) -> u16 {
        u16::from_be_bytes(self.bytes(0))
    }

    /// `None` for a socket that is not connected.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        let port = u16::from_be_bytes(self.bytes(2));
        let ip: IpAddr = if i32::from(self.family) == libc::AF_INET {
            Ipv4Addr::from(self.bytes::<4>(20)).into()
        } else {
            Ipv6Addr::from(self.bytes::<16>(20)).to_canonical()
        };
        (port != 0).then(|| SocketAddr::new(ip, port))
    }

    pub(super) fn cookie(&self) -> u64 {
        let [low, high] = [40, 44].map(|at| u64::from(u32::from_ne_bytes(self.bytes(at))));
        high << 32 | low
    }

    fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        std::array::from_fn(|i| self.id[at + i])
    }
}

/// A request: `struct nlmsghdr`, then `struct inet_diag_req_v2`.
pub(super) fn request(kind: u16, flags: u16, protocol: u8, states: u32, socket: &Described) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + 8 + ID);
    bytes.extend(((HEADER + 8 + ID) as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((REQUEST | flags).to_ne_bytes());
    // Sequence and port: one question at a time on a socket of its own.
    bytes.extend([0; 8]);
    bytes.extend([socket.family, protocol, 0, 0]);
    bytes.extend(states.to_ne_bytes());
    bytes.extend(socket.id);
    bytes
}

/// All sockets of a family.
pub(super) fn any(family: u8) -> Described {
    Described { family, id: [0; ID] }
}

/// What a message of an answer says.
pub(super) enum Answer {
    Socket(Described),
    /// The end: of a list, or the outcome of a request; a positive errno if it failed.
    End(i32),
}

/// The messages of one datagram.
pub(super) fn answers(mut bytes: &[u8]) -> io::Result<Vec<Answer>> {
    let mut found = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = u32::from_ne_bytes(*length) as usize;
        let body =
            rest.get(HEADER - 4..length.saturating_sub(4)).ok_or(invalid("a netlink message is cut off"))?;
        match u16::from_ne_bytes([rest[0], rest[1]]) {
            ERROR | DONE => {
                let errno = body.first_chunk::<4>().map_or(0, |bytes| -i32::from_ne_bytes(*bytes));
                found.push(Answer::End(errno));
            }
            BY_FAMILY => {
                let id = body.get(MESSAGE_HEAD..).and_then(<[u8]>::first_chunk::<ID>);
                let id = *id.ok_or(invalid("a description of a socket is cut off"))?;
                found.push(Answer::Socket(Described { family: body[0], id }));
            }
            _ => {}
        }
        // Messages are aligned to four bytes.
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(found)
}
