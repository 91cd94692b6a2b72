//! The last close() of a socket: forget it.

use aya_ebpf::{EbpfContext, helpers::bpf_get_socket_cookie, macros::cgroup_sock, programs::SockContext};

use crate::{
    context::ALLOW,
    measure::{self, Leave},
    record,
};

#[cgroup_sock(sock_release)]
pub fn sock_release(context: SockContext) -> i32 {
    // SAFETY: the helper takes this context.
    let cookie = unsafe { bpf_get_socket_cookie(context.as_ptr()) };
    if measure::released(cookie) == Leave::Remove {
        record::remove(cookie);
    }
    ALLOW
}
