//! Frames of the node's own making, on a link as they are.
#![expect(unsafe_code, reason = "nix makes no link-layer addresses")]

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::Mac;

/// The hardware address of a link of this thread's own namespace; `None` when there is none of that name, or it has none.
pub fn hardware_address(link: &str) -> io::Result<Option<Mac>> {
    let mut found = nix::ifaddrs::getifaddrs()?.filter(|interface| interface.interface_name == link);
    Ok(found.find_map(|interface| interface.address?.as_link_addr()?.addr()))
}

/// Sends whole Ethernet frames by one link.
#[derive(Debug)]
pub struct Frames {
    socket: OwnedFd,
    to: libc::sockaddr_ll,
}

impl Frames {
    /// By the link of that index, of this thread's own namespace.
    pub fn by(link: u32) -> io::Result<Self> {
        let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
        // SAFETY: integers and bytes, of which zeros are values.
        let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_ifindex = i32::try_from(link).map_err(|_| io::ErrorKind::InvalidInput)?;
        Ok(Self { socket, to })
    }

    /// One frame, from its Ethernet header on.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: the buffer and the address outlive the call, each with its own length.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const self.to).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// Sends one frame by the link of that index.
pub fn send_frame(link: u32, frame: &[u8]) -> io::Result<()> {
    Frames::by(link)?.send(frame)
}
