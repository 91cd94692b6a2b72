//! Network namespaces: the caller's by its cookie, and those that processes of a cgroup live in.
//!
//! A hook at a cgroup sees the sockets of the processes below it, whatever made their namespaces (a CNI plugin, a test,
//! a user), so the processes are asked.
#![expect(unsafe_code, reason = "nix has no call for SO_NETNS_COOKIE")]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::Path,
    thread,
};

use nix::{
    sched::{CloneFlags, setns},
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};

/// The calling thread's namespace.
const OWN: &str = "/proc/thread-self/ns/net";
/// Deepest level of cgroups that is looked at.
const DEPTH_MAX: usize = 32;

/// The cookie of the calling thread's network namespace, as BPF programs see it. Kernel 5.14 and newer.
pub fn own_cookie() -> io::Result<u64> {
    let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the option is a u64; `cookie` is one, `length` says so, and both outlive the call.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            std::ptr::from_mut(&mut cookie).cast(),
            &raw mut length,
        )
    };
    if answer == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

/// The same of the namespace that a file stands for.
pub fn cookie_of(namespace: &Path) -> io::Result<u64> {
    within(File::open(namespace)?, own_cookie)?
}

/// The namespaces of all processes below a cgroup, and the caller's, each once.
pub(super) fn below(cgroup: &Path) -> io::Result<Vec<File>> {
    let own = File::open(OWN)?;
    let mut found = BTreeMap::from([(own.metadata()?.ino(), own)]);
    walk(cgroup, DEPTH_MAX, &mut found)?;
    Ok(found.into_values().collect())
}

fn walk(cgroup: &Path, depth: usize, found: &mut BTreeMap<u64, File>) -> io::Result<()> {
    let pids = match fs::read_to_string(cgroup.join("cgroup.procs")) {
        Ok(pids) => pids,
        Err(e) if is_gone(&e) => return Ok(()),
        // A threaded cgroup's processes are listed by the domain above it.
        Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => String::new(),
        Err(e) => return Err(e),
    };
    for pid in pids.lines() {
        add(Path::new("/proc").join(pid).join("ns/net").as_path(), found)?;
    }
    if depth == 0 {
        return Ok(());
    }
    let entries = match fs::read_dir(cgroup) {
        Ok(entries) => entries,
        Err(e) if is_gone(&e) => return Ok(()),
        Err(e) => return Err(e),
    };
    for entry in entries {
        match entry.and_then(|entry| Ok((entry.file_type()?.is_dir(), entry.path()))) {
            Ok((true, path)) => walk(&path, depth - 1, found)?,
            Ok((false, _)) => {}
            Err(e) if is_gone(&e) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn add(namespace: &Path, found: &mut BTreeMap<u64, File>) -> io::Result<()> {
    let inode = match fs::metadata(namespace) {
        Ok(metadata) => metadata.ino(),
        Err(e) if is_gone(&e) => return Ok(()),
        Err(e) => return Err(e),
    };
    if found.contains_key(&inode) {
        return Ok(());
    }
    match File::open(namespace) {
        Ok(file) => drop(found.insert(inode, file)),
        Err(e) if is_gone(&e) => {}
        Err(e) => return Err(e),
    }
    Ok(())
}

/// Processes end and cgroups are removed under our eyes; a process that has ended keeps its number until its parent
/// has waited, without a namespace.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::ESRCH))
}

/// Runs in a namespace, on a thread that is made for this alone.
pub(super) fn within<T: Send>(namespace: File, act: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let entered = scope.spawn(|| {
            setns(namespace, CloneFlags::CLONE_NEWNET)?;
            Ok(act())
        });
        entered.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
