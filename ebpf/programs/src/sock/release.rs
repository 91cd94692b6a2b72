//! The last close() of a socket: forget it.

use aya_ebpf::{EbpfContext, helpers::bpf_get_socket_cookie, macros::cgroup_sock, programs::SockContext};

use crate::{context::ALLOW, maps::CONNECTIONS};

/// Looks before it removes: most sockets were never translated, and a removal takes the bucket's lock.
#[cgroup_sock(sock_release)]
pub fn sock_release(context: SockContext) -> i32 {
    // SAFETY: the helper takes this context.
    let cookie = unsafe { bpf_get_socket_cookie(context.as_ptr()) };
    if CONNECTIONS.get_ptr(&cookie).is_some() {
        // Absent by now only if another CPU released the same socket, which the kernel excludes.
        let _ = CONNECTIONS.remove(&cookie);
    }
    ALLOW
}
