//! Access to `struct bpf_sock_addr`.
//!
//! The verifier wants each field touched by one load or store at a constant offset, hence volatile throughout: the
//! compiler may neither merge two fields nor compute an address once for both.

use aya_ebpf::{
    bindings::bpf_sock_addr,
    helpers::{bpf_get_socket_cookie, bpf_set_retval},
    programs::SockAddrContext,
};
use keelson_ebpf_common::net::{Address4, Address6, Port};

/// What a hook answers to let the call go on.
pub const ALLOW: i32 = 1;
/// What a hook answers to fail the call.
const DENY: i32 = 0;
/// Linux's number on every architecture that has this program type (asm-generic/errno.h).
const ECONNREFUSED: i32 = 111;
/// As above: another socket has the port.
const EADDRINUSE: i32 = 98;
/// `IPPROTO_MPTCP`: the socket asks for multipath, its first subflow is TCP to the same address.
const IPPROTO_MPTCP: u32 = 262;
/// `IPPROTO_TCP`.
const IPPROTO_TCP: u8 = 6;
/// `TCP_ESTABLISHED`, which is also the state of a connected UDP socket.
const ESTABLISHED: u32 = 1;

/// The context of a sock_addr hook.
pub struct Hook(*mut bpf_sock_addr);

impl Hook {
    #[inline(always)]
    pub fn new(context: &SockAddrContext) -> Self {
        Self(context.sock_addr)
    }

    /// The number that frontends are keyed by; 0, which is nobody's, for protocols that do not fit a byte.
    #[inline(always)]
    pub fn protocol(&self) -> u8 {
        // SAFETY: the kernel passes a valid context, and the field is readable from every sock_addr hook.
        match unsafe { (&raw const (*self.0).protocol).read_volatile() } {
            IPPROTO_MPTCP => IPPROTO_TCP,
            other if other < 256 => other as u8,
            _ => 0,
        }
    }

    #[inline(always)]
    pub fn address4(&self) -> Address4 {
        // SAFETY: a valid context; only hooks of IPv4 call this, where the field is readable.
        Address4(unsafe { (&raw const (*self.0).user_ip4).read_volatile() })
    }

    #[inline(always)]
    pub fn set_address4(&self, address: Address4) {
        // SAFETY: a valid context; only hooks of IPv4 call this, where the field is writable.
        unsafe { (&raw mut (*self.0).user_ip4).write_volatile(address.0) }
    }

    #[inline(always)]
    pub fn address6(&self) -> Address6 {
        // SAFETY: a valid context; only hooks of IPv6 call this. Four loads of one word each.
        unsafe {
            let words = (&raw const (*self.0).user_ip6).cast::<u32>();
            Address6([
                words.read_volatile(),
                words.add(1).read_volatile(),
                words.add(2).read_volatile(),
                words.add(3).read_volatile(),
            ])
        }
    }

    #[inline(always)]
    pub fn set_address6(&self, address: Address6) {
        let [a, b, c, d] = address.0;
        // SAFETY: a valid context; only hooks of IPv6 call this. Four stores of one word each.
        unsafe {
            let words = (&raw mut (*self.0).user_ip6).cast::<u32>();
            words.write_volatile(a);
            words.add(1).write_volatile(b);
            words.add(2).write_volatile(c);
            words.add(3).write_volatile(d);
        }
    }

    #[inline(always)]
    pub fn port(&self) -> Port {
        // SAFETY: a valid context; readable from every sock_addr hook. The lower half is the port in network order.
        Port(unsafe { (&raw const (*self.0).user_port).read_volatile() } as u16)
    }

    #[inline(always)]
    pub fn set_port(&self, port: Port) {
        // SAFETY: a valid context; writable from every sock_addr hook.
        unsafe { (&raw mut (*self.0).user_port).write_volatile(u32::from(port.0)) }
    }

    /// The socket's cookie: unique for the life of the machine.
    #[inline(always)]
    pub fn cookie(&self) -> u64 {
        // SAFETY: the helper takes this context.
        unsafe { bpf_get_socket_cookie(self.0.cast()) }
    }

    /// Whether the socket has a fixed peer.
    #[inline(always)]
    pub fn connected(&self) -> bool {
        // SAFETY: a valid context; `sk` may be null and is compared before use, `state` is readable through it.
        unsafe {
            let sk = (&raw const (*self.0).__bindgen_anon_1.sk).read_volatile();
            !sk.is_null() && (&raw const (*sk).state).read_volatile() == ESTABLISHED
        }
    }

    /// The raw context, for helpers.
    #[inline(always)]
    pub fn raw(&self) -> *mut bpf_sock_addr {
        self.0
    }

    /// Fails the call as a closed port would: at once, with ECONNREFUSED rather than the hooks' own EPERM.
    #[inline(always)]
    pub fn refuse(&self) -> i32 {
        fail(ECONNREFUSED)
    }

    /// Fails a bind() as if another socket had the port.
    #[inline(always)]
    pub fn in_use(&self) -> i32 {
        fail(EADDRINUSE)
    }
}

#[inline(always)]
fn fail(errno: i32) -> i32 {
    // SAFETY: takes no pointer; allowed in connect, sendmsg and bind hooks since 5.18, and only they fail a call.
    unsafe { bpf_set_retval(-errno) };
    DENY
}
