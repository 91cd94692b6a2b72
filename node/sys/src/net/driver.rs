//! Which driver a link has, as `ethtool -i` tells it.
#![expect(unsafe_code, reason = "an ioctl with a pointer")]

use std::{
    ffi::{CStr, c_char},
    io,
    os::fd::AsRawFd,
};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// `ETHTOOL_GDRVINFO` of the kernel's uapi/linux/ethtool.h.
const DRIVER_INFO: u32 = 3;
/// `SIOCETHTOOL` of uapi/linux/sockios.h.
const ETHTOOL: libc::c_ulong = 0x8946;

/// `struct ethtool_drvinfo`, of which the driver's name matters.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

const _: () = assert!(size_of::<DriverInfo>() == 196);

/// The name of a link's driver, of this thread's own namespace; `None` when it does not say.
pub fn driver(link: &str) -> io::Result<Option<String>> {
    // SAFETY: integers, bytes and pointers, of which zeros are values.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if link.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(link.bytes()) {
        *place = byte as c_char;
    }
    let mut info = DriverInfo { command: DRIVER_INFO, driver: [0; 32], rest: [0; 160] };
    request.ifr_ifru.ifru_data = (&raw mut info).cast();
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: the request and what it points to outlive the call and are of the sizes that the kernel expects (asserted).
    if unsafe { libc::ioctl(socket.as_raw_fd(), ETHTOOL as _, &raw mut request) } < 0 {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::EOPNOTSUPP) { Ok(None) } else { Err(error) };
    }
    let name = CStr::from_bytes_until_nul(&info.driver).ok().and_then(|name| name.to_str().ok());
    Ok(name.filter(|name| !name.is_empty()).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_without_a_driver_has_none_and_one_that_is_not_there_is_an_error() {
        assert_eq!(driver("lo").unwrap(), None);
        assert_eq!(driver("nowhere0").unwrap_err().raw_os_error(), Some(libc::ENODEV));
        assert_eq!(driver("much-too-long-a-name").unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
