//! The clock that BPF programs have too.
#![expect(unsafe_code, reason = "the system call takes a pointer")]

use std::io;

/// `CLOCK_MONOTONIC` in whole seconds: what `bpf_ktime_get_ns` counts.
pub fn monotonic_s() -> io::Result<u64> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a structure of ours that outlives the call.
    if unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(now.tv_sec as u64)
}
