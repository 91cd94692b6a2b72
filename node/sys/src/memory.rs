//! The memory of this process.
#![expect(unsafe_code, reason = "a function of the C library")]

/// Gives memory that is free back to the kernel, after work that takes much of it for a moment: the C library keeps it
/// otherwise. Nothing on systems with another library than glibc.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer; it locks the allocator's arenas one after the other.
    unsafe {
        libc::malloc_trim(0);
    }
}
