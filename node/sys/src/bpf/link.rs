//! Links of programs to cgroups and network devices: created, pinned, updated in place without a moment unattached, detached.
#![expect(unsafe_code, reason = "the system call takes raw pointers")]

use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
};

use super::syscall::{self, BpfError, Info, LinkCreate, LinkDetach, LinkUpdate, bpf, bpf_fd};

/// Hooks of `enum bpf_attach_type`: those that take a cgroup, and those of a network device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
#[expect(missing_docs, reason = "the kernel's own names")]
pub enum AttachType {
    SockOps = 3,
    Inet4Bind = 8,
    Inet6Bind = 9,
    Inet4Connect = 10,
    Inet6Connect = 11,
    Udp4Sendmsg = 14,
    Udp6Sendmsg = 15,
    Udp4Recvmsg = 19,
    Udp6Recvmsg = 20,
    Inet4Getpeername = 29,
    Inet6Getpeername = 30,
    InetSockRelease = 34,
    Xdp = 37,
    TcxIngress = 46,
    TcxEgress = 47,
}

/// `BPF_LINK_TYPE_CGROUP`.
const LINK_TYPE_CGROUP: u32 = 3;
/// `BPF_LINK_TYPE_XDP`.
const LINK_TYPE_XDP: u32 = 6;
/// `BPF_LINK_TYPE_TCX`.
const LINK_TYPE_TCX: u32 = 11;

/// Where in a device's way a program of XDP runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum XdpMode {
    /// `XDP_FLAGS_SKB_MODE`: in the kernel's generic receive path, which every device has.
    Generic = 2,
    /// `XDP_FLAGS_DRV_MODE`: in the driver.
    Native = 4,
}

/// A program attached somewhere. Closing it detaches, unless it is pinned.
#[derive(Debug)]
pub struct Link(OwnedFd);

/// What a link to a cgroup joins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CgroupLinkInfo {
    /// The program's number in the kernel.
    pub program_id: u32,
    /// The cgroup's inode number in cgroup2; 0 once the link was detached (the cgroup is gone).
    pub cgroup_id: u64,
    /// The hook, as the kernel numbers it.
    pub attach_type: u32,
}

/// What a link to a network device joins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DeviceLinkInfo {
    /// The program's number in the kernel.
    pub program_id: u32,
    /// The device's index; 0 once the device is gone.
    pub ifindex: u32,
    /// The hook, as the kernel numbers it.
    pub attach_type: u32,
}

impl Link {
    /// Attaches a program to a network device, behind those that others attached. `None` where the kernel cannot: it knows
    /// no such links.
    pub fn attach_device(
        program: BorrowedFd<'_>,
        ifindex: u32,
        attach_type: AttachType,
    ) -> Result<Option<Self>, BpfError> {
        let mut attribute = LinkCreate {
            prog_fd: program.as_raw_fd() as u32,
            target_fd: ifindex,
            attach_type: attach_type as u32,
            flags: 0,
        };
        // SAFETY: no address in the attribute; for these hooks the second field is the device's index.
        match unsafe { bpf_fd(&mut attribute) } {
            Ok(fd) => Ok(Some(Self(fd))),
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => Ok(None),
            Err(e) => Err(BpfError::of(format!("attaching {attach_type:?} to device {ifindex}"), e)),
        }
    }

    /// Attaches a program of XDP to a network device, which has room for one. `None` where the driver cannot.
    pub fn attach_xdp(
        program: BorrowedFd<'_>,
        ifindex: u32,
        mode: XdpMode,
    ) -> Result<Option<Self>, BpfError> {
        let mut attribute = LinkCreate {
            prog_fd: program.as_raw_fd() as u32,
            target_fd: ifindex,
            attach_type: AttachType::Xdp as u32,
            flags: mode as u32,
        };
        // SAFETY: no address in the attribute; for this hook the second field is the device's index.
        match unsafe { bpf_fd(&mut attribute) } {
            Ok(fd) => Ok(Some(Self(fd))),
            // Drivers without it, and those that cannot with their present MTU, queues or offloads.
            Err(e)
                if mode == XdpMode::Native
                    && [libc::EOPNOTSUPP, libc::EINVAL, libc::ERANGE, libc::ENOSPC, libc::E2BIG]
                        .contains(&e.raw_os_error().unwrap_or(0)) =>
            {
                Ok(None)
            }
            Err(e) => Err(BpfError::of(format!("attaching {mode:?} XDP to device {ifindex}"), e)),
        }
    }

    /// Attaches a program to a cgroup, beside those that others attached (links always share the hook).
    pub fn attach_cgroup(
        program: BorrowedFd<'_>,
        cgroup: BorrowedFd<'_>,
        attach_type: AttachType,
    ) -> Result<Self, BpfError> {
        let mut attribute = LinkCreate {
            prog_fd: program.as_raw_fd() as u32,
            target_fd: cgroup.as_raw_fd() as u32,
            attach_type: attach_type as u32,
            flags: 0,
        };
        // SAFETY: no address in the attribute.
        let fd = unsafe { bpf_fd(&mut attribute) }
            .map_err(|e| BpfError::of(format!("attaching {attach_type:?} to the cgroup"), e))?;
        Ok(Self(fd))
    }

    /// Opens a pinned link; `None` when nothing is pinned there.
    pub fn open_pinned(path: &Path) -> Result<Option<Self>, BpfError> {
        Ok(syscall::get_pinned(path)?.map(Self))
    }

    /// Keeps the link attached beyond this process.
    pub fn pin(&self, path: &Path) -> Result<(), BpfError> {
        syscall::pin(self.raw(), path)
    }

    /// Puts another program in the place of the present one; every call passes the one or the other.
    pub fn update(&self, program: BorrowedFd<'_>) -> Result<(), BpfError> {
        let mut attribute = LinkUpdate {
            link_fd: self.raw(),
            new_prog_fd: program.as_raw_fd() as u32,
            ..LinkUpdate::default()
        };
        // SAFETY: no address in the attribute.
        unsafe { bpf(&mut attribute) }.map_err(|e| BpfError::of("updating a link in place", e))?;
        Ok(())
    }

    /// Detaches now, whoever else holds the link.
    pub fn detach(&self) -> Result<(), BpfError> {
        let mut attribute = LinkDetach { link_fd: self.raw() };
        // SAFETY: no address in the attribute.
        unsafe { bpf(&mut attribute) }.map_err(|e| BpfError::of("detaching a link", e))?;
        Ok(())
    }

    /// What the link joins; `None` when it is not a link to a cgroup.
    pub fn cgroup_info(&self) -> Result<Option<CgroupLinkInfo>, BpfError> {
        let info = self.info()?;
        Ok((info.link_type == LINK_TYPE_CGROUP).then_some(CgroupLinkInfo {
            program_id: info.program_id,
            cgroup_id: native(info.target[0], info.target[1]),
            attach_type: info.target[2],
        }))
    }

    /// What the link joins; `None` when it is not a link to a network device.
    pub fn device_info(&self) -> Result<Option<DeviceLinkInfo>, BpfError> {
        let info = self.info()?;
        let attach_type = match info.link_type {
            LINK_TYPE_TCX => info.target[1],
            LINK_TYPE_XDP => AttachType::Xdp as u32,
            _ => return Ok(None),
        };
        Ok(Some(DeviceLinkInfo { program_id: info.program_id, ifindex: info.target[0], attach_type }))
    }

    fn info(&self) -> Result<LinkInfo, BpfError> {
        let mut info = LinkInfo::default();
        let mut attribute = Info {
            fd: self.raw(),
            info_len: size_of::<LinkInfo>() as u32,
            info: std::ptr::from_mut(&mut info).addr() as u64,
        };
        // SAFETY: `info` is valid for `info_len` bytes, all of whose values are allowed, and outlives the call.
        unsafe { bpf(&mut attribute) }.map_err(|e| BpfError::of("asking what a link joins", e))?;
        Ok(info)
    }

    fn raw(&self) -> u32 {
        self.0.as_raw_fd() as u32
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Two words as the eight bytes that they are in memory.
fn native(first: u32, second: u32) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

/// Head of `struct bpf_link_info`, and of its union as much as the members `cgroup` (a number of eight bytes, the hook), `tcx`
/// (the device, the hook) and `xdp` (the device) take.
#[repr(C, align(8))]
#[derive(Default)]
struct LinkInfo {
    link_type: u32,
    id: u32,
    program_id: u32,
    pad: u32,
    target: [u32; 4],
}
