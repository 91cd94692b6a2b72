//! The system call and its attributes, as `linux/bpf.h` lays them out.
#![expect(unsafe_code, reason = "the system call takes raw pointers")]

use std::{
    ffi::CString,
    io,
    os::{
        fd::{FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

/// What we were doing when the kernel refused, and its reason.
#[derive(Debug, thiserror::Error)]
#[error("bpf: {doing}")]
pub struct BpfError {
    /// The operation, in words.
    pub doing: String,
    /// The kernel's answer.
    pub source: io::Error,
}

impl BpfError {
    /// From the last system call of this thread.
    pub(super) fn last(doing: impl Into<String>) -> Self {
        Self { doing: doing.into(), source: io::Error::last_os_error() }
    }

    /// From a known cause.
    pub(super) fn of(doing: impl Into<String>, source: io::Error) -> Self {
        Self { doing: doing.into(), source }
    }

    /// The error number, if the kernel gave one.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }
}

/// Commands of `enum bpf_cmd`.
#[derive(Clone, Copy)]
#[repr(i32)]
pub(super) enum Command {
    MapCreate = 0,
    MapLookupElem = 1,
    MapUpdateElem = 2,
    MapDeleteElem = 3,
    MapGetNextKey = 4,
    ObjPin = 6,
    ObjGet = 7,
    ProgTestRun = 10,
    MapGetFdById = 14,
    ObjGetInfoByFd = 15,
    MapLookupBatch = 24,
    MapUpdateBatch = 26,
    MapDeleteBatch = 27,
    LinkCreate = 28,
    LinkUpdate = 29,
    LinkDetach = 34,
}

/// The attribute of a command; the kernel reads (and for batches writes) exactly its size.
///
/// # Safety
/// Implementors are `repr(C)` without padding bytes, and are the head of the kernel's union for [`Self::COMMAND`].
pub(super) unsafe trait Attribute {
    const COMMAND: Command;
}

#[repr(C)]
#[derive(Default)]
pub(super) struct MapCreate {
    pub(super) map_type: u32,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) max_entries: u32,
    pub(super) map_flags: u32,
    pub(super) inner_map_fd: u32,
    pub(super) numa_node: u32,
    pub(super) map_name: [u8; 16],
}

#[repr(C)]
#[derive(Default)]
pub(super) struct GetById {
    pub(super) id: u32,
    pub(super) next_id: u32,
    pub(super) open_flags: u32,
}

#[repr(C)]
#[derive(Default)]
pub(super) struct Element<const COMMAND: i32> {
    pub(super) map_fd: u32,
    pub(super) pad: u32,
    pub(super) key: u64,
    pub(super) value: u64,
    pub(super) flags: u64,
}
pub(super) type LookupElement = Element<{ Command::MapLookupElem as i32 }>;
pub(super) type UpdateElement = Element<{ Command::MapUpdateElem as i32 }>;
pub(super) type DeleteElement = Element<{ Command::MapDeleteElem as i32 }>;

#[repr(C)]
#[derive(Default)]
pub(super) struct NextKey {
    pub(super) map_fd: u32,
    pub(super) pad: u32,
    pub(super) key: u64,
    pub(super) next_key: u64,
}

#[repr(C)]
#[derive(Default)]
pub(super) struct TestRun {
    pub(super) prog_fd: u32,
    pub(super) retval: u32,
    pub(super) data_size_in: u32,
    pub(super) data_size_out: u32,
    pub(super) data_in: u64,
    pub(super) data_out: u64,
    pub(super) repeat: u32,
    pub(super) duration: u32,
    pub(super) ctx_size_in: u32,
    pub(super) ctx_size_out: u32,
    pub(super) ctx_in: u64,
    pub(super) ctx_out: u64,
}

#[repr(C)]
#[derive(Default)]
pub(super) struct Batch<const COMMAND: i32> {
    pub(super) in_batch: u64,
    pub(super) out_batch: u64,
    pub(super) keys: u64,
    pub(super) values: u64,
    pub(super) count: u32,
    pub(super) map_fd: u32,
    pub(super) elem_flags: u64,
    pub(super) flags: u64,
}
pub(super) type LookupBatch = Batch<{ Command::MapLookupBatch as i32 }>;
pub(super) type UpdateBatch = Batch<{ Command::MapUpdateBatch as i32 }>;
pub(super) type DeleteBatch = Batch<{ Command::MapDeleteBatch as i32 }>;

#[repr(C)]
#[derive(Default)]
struct Object<const COMMAND: i32> {
    path: u64,
    fd: u32,
    file_flags: u32,
}

#[repr(C)]
#[derive(Default)]
pub(super) struct Info {
    pub(super) fd: u32,
    pub(super) info_len: u32,
    pub(super) info: u64,
}

#[repr(C)]
#[derive(Default)]
pub(super) struct LinkCreate {
    pub(super) prog_fd: u32,
    pub(super) target_fd: u32,
    pub(super) attach_type: u32,
    pub(super) flags: u32,
}

#[repr(C)]
#[derive(Default)]
pub(super) struct LinkUpdate {
    pub(super) link_fd: u32,
    pub(super) new_prog_fd: u32,
    pub(super) flags: u32,
    pub(super) old_prog_fd: u32,
}

#[repr(C)]
#[derive(Default)]
pub(super) struct LinkDetach {
    pub(super) link_fd: u32,
}

macro_rules! attribute {
    ($($type:ty => $command:ident),* $(,)?) => {$(
        // SAFETY: repr(C), fields in the kernel's order with its sizes, naturally aligned without gaps.
        unsafe impl Attribute for $type {
            const COMMAND: Command = Command::$command;
        }
    )*};
}
attribute! {
    MapCreate => MapCreate,
    GetById => MapGetFdById,
    LookupElement => MapLookupElem,
    UpdateElement => MapUpdateElem,
    DeleteElement => MapDeleteElem,
    NextKey => MapGetNextKey,
    TestRun => ProgTestRun,
    LookupBatch => MapLookupBatch,
    UpdateBatch => MapUpdateBatch,
    DeleteBatch => MapDeleteBatch,
    Object<{ Command::ObjPin as i32 }> => ObjPin,
    Object<{ Command::ObjGet as i32 }> => ObjGet,
    Info => ObjGetInfoByFd,
    LinkCreate => LinkCreate,
    LinkUpdate => LinkUpdate,
    LinkDetach => LinkDetach,
}

/// Calls the kernel; the answer is not negative.
///
/// # Safety
/// Every address in `attribute` is valid for what the command reads and writes through it, for the whole call.
pub(super) unsafe fn bpf<A: Attribute>(attribute: &mut A) -> io::Result<i32> {
    // SAFETY: the attribute is valid for its size; what it points to is the caller's promise.
    let answer = unsafe {
        libc::syscall(libc::SYS_bpf, A::COMMAND as i32, std::ptr::from_mut(attribute), size_of::<A>())
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer as i32) }
}

/// Calls the kernel for a new descriptor.
///
/// # Safety
/// As [`bpf`], and the command answers with a descriptor that nobody else owns.
pub(super) unsafe fn bpf_fd<A: Attribute>(attribute: &mut A) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise.
    let fd = unsafe { bpf(attribute)? };
    // SAFETY: a fresh descriptor, ours alone. The kernel opens it close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Opens what is pinned at `path`; `None` when nothing is.
pub(super) fn get_pinned(path: &Path) -> Result<Option<OwnedFd>, BpfError> {
    let doing = || format!("opening the pin {}", path.display());
    let c_path = c_path(path).map_err(|e| BpfError::of(doing(), e))?;
    let mut attribute =
        Object::<{ Command::ObjGet as i32 }> { path: c_path.as_ptr().addr() as u64, ..Object::default() };
    // SAFETY: the path is a terminated string that outlives the call.
    match unsafe { bpf_fd(&mut attribute) } {
        Ok(fd) => Ok(Some(fd)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(BpfError::of(doing(), e)),
    }
}

/// Pins an object at `path`, which must not exist.
pub(super) fn pin(fd: u32, path: &Path) -> Result<(), BpfError> {
    let doing = || format!("pinning to {}", path.display());
    let c_path = c_path(path).map_err(|e| BpfError::of(doing(), e))?;
    let mut attribute =
        Object::<{ Command::ObjPin as i32 }> { path: c_path.as_ptr().addr() as u64, fd, file_flags: 0 };
    // SAFETY: the path is a terminated string that outlives the call.
    unsafe { bpf(&mut attribute) }.map_err(|e| BpfError::of(doing(), e))?;
    Ok(())
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))
}
