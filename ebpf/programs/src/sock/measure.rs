//! What a connection is measured by: the clock at connect(), at TCP's establishment, TCP's own figures at the end.
//!
//! ```text
//!  connect4/6 ──▶ begun ──ACTIVE_ESTABLISHED──▶ established ──┬─ sock_release ─▶ released ─┬─▶ removed
//!                  │                                           └─ STATE_CB: CLOSE ─▶ counted ─┘
//!                  └─ sock_release ─▶ counted as failed, removed
//! ```
//! The measured path is one look at the clock in each of the first two, stored in the cache line of the record. What a
//! connection adds to its totals it adds when it ends. UDP has no establishment: it is not measured. Nor is multipath TCP, whose
//! subflows are sockets of their own.

use aya_ebpf::{
    bindings::{BPF_SOCK_OPS_STATE_CB_FLAG, bpf_sock_ops},
    helpers::{bpf_get_socket_cookie, bpf_ktime_get_ns, bpf_sock_ops_cb_flags_set},
    macros::sock_ops,
    programs::SockOpsContext,
};
use keelson_ebpf_common::{
    key,
    metrics::{self, Kind, Row, SINCE_LOG2, TICK_LOG2, What},
    net::{Address4, Address6, Port},
    value::Connection,
};

use crate::{atomic, flows, maps::CONTROL, record, totals};

/// Whether anything is measured; written by whoever loads the programs, a constant to the verifier.
#[unsafe(no_mangle)]
static MEASURE: u32 = 1;

const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
/// `BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB` and `BPF_SOCK_OPS_STATE_CB` of `linux/bpf.h`.
const ACTIVE_ESTABLISHED: u32 = 4;
const STATE: u32 = 10;
/// States of `net/tcp_states.h`, which the header exports as `BPF_TCP_*`.
const TCP_ESTABLISHED: u32 = 1;
const TCP_CLOSE: u32 = 7;
const TCP_CLOSE_WAIT: u32 = 8;
/// `AF_INET`, the same number on every architecture.
const AF_INET: u32 = 2;

/// What release does with a record.
#[derive(PartialEq)]
pub enum Leave {
    /// Nobody needs it any more.
    Remove,
    /// TCP's end will count and remove it.
    Record,
}

#[inline(always)]
fn measured() -> bool {
    // SAFETY: a static of this program. Volatile: what the compiler sees is not what the loader writes.
    unsafe { (&raw const MEASURE).read_volatile() != 0 }
}

/// What a new record begins with.
#[derive(Clone, Copy)]
pub struct Began {
    pub epoch: u32,
    /// The clock; 0: not measured.
    pub ticks: u32,
    pub protocol: u8,
}

/// Looks at the clock, if this is measured.
#[inline(always)]
pub fn begin(protocol: u8) -> Began {
    if !measured() || protocol == IPPROTO_UDP {
        return Began { epoch: 0, ticks: 0, protocol };
    }
    Began { epoch: epoch(), ticks: ticks(now_ns()) | 1, protocol }
}

#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: takes no pointer.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
fn ticks(ns: u64) -> u32 {
    (ns >> TICK_LOG2) as u32
}

#[inline(always)]
fn epoch() -> u32 {
    // SAFETY: a pointer from the map; one load of an aligned word.
    CONTROL.get_ptr(0).map_or(0, |control| unsafe { (&raw const (*control).epoch).read_volatile() })
}

/// A call that found no backend.
#[inline(always)]
pub fn refused(frontend: key::Frontend6) {
    if !measured() {
        return;
    }
    let row = Row {
        frontend: frontend.address,
        frontend_port: frontend.port,
        protocol: frontend.protocol,
        epoch: epoch(),
        ..Row::OTHER
    };
    totals::add(&row, |totals| unsafe { atomic::add(&raw mut (*totals).refused, 1) });
    flows::tell(0, What::Refused, |flow| flow.row = row);
}

/// The last close() of a socket.
#[inline(always)]
pub fn released(cookie: u64) -> Leave {
    if !measured() {
        return Leave::Remove;
    }
    let Some(found) = record::find(cookie) else { return Leave::Remove };
    // SAFETY: a pointer from the map. Only this socket's own events write the record.
    unsafe {
        let connect = (&raw const (*found).connect).read_volatile();
        let row = row(found);
        if row.protocol != IPPROTO_TCP || connect == 0 {
            return Leave::Remove;
        }
        if (&raw const (*found).established).read_volatile() != 0 {
            let before = atomic::fetch_add(&raw mut (*found).state, 1);
            return if Connection::ends(before) == 0 { Leave::Record } else { Leave::Remove };
        }
        totals::add(&row, |totals| atomic::add(&raw mut (*totals).failed, 1));
        flows::tell(cookie, What::Failed, |flow| {
            flow.row = row;
            flow.connect = ticks(now_ns()).wrapping_sub(connect);
        });
    }
    Leave::Remove
}

/// # Safety
/// A pointer from the map.
#[inline(always)]
unsafe fn row(record: *const Connection) -> Row {
    // SAFETY: the caller's promise.
    let record = unsafe { &*record };
    Row {
        frontend: record.frontend,
        backend: record.backend,
        frontend_port: record.frontend_port,
        backend_port: record.backend_port,
        epoch: record.epoch,
        protocol: Connection::protocol(record.state),
        kind: Kind::Counted as u8,
        pad: 0,
    }
}

/// Called for every TCP socket of the cgroup, some ten times in its life, mostly for nothing: what is done for something is in
/// functions of their own, so that a call for nothing saves no register and makes no stack.
#[sock_ops]
pub fn measure(context: SockOpsContext) -> u32 {
    match context.op() {
        ACTIVE_ESTABLISHED => established(context.ops),
        STATE => changed(context.ops),
        _ => {}
    }
    0
}

#[inline(never)]
fn established(ops: *mut bpf_sock_ops) {
    let context = &SockOpsContext::new(ops);
    // SAFETY: the helper takes this context.
    let cookie = unsafe { bpf_get_socket_cookie(context.ops.cast()) };
    let Some(found) = record::find(cookie) else { return };
    // SAFETY: a pointer from the map; nobody else writes these fields while the socket connects. The flags are those of others
    // and one more.
    let took = unsafe {
        let began = (&raw const (*found).connect).read_volatile();
        if began == 0 {
            return;
        }
        let now_ns = now_ns();
        let took = ticks(now_ns).wrapping_sub(began) | 1;
        (&raw mut (*found).connect).write_volatile(took);
        (&raw mut (*found).established).write_volatile((now_ns >> SINCE_LOG2) as u32 | 1);
        let flags = context.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG;
        bpf_sock_ops_cb_flags_set(context.ops, flags as i32);
        took
    };
    flows::tell(cookie, What::Opened, |flow| {
        // SAFETY: as above.
        flow.row = unsafe { row(found) };
        flow.connect = took;
        client(context, flow);
    });
}

/// The client's end of the connection.
#[inline(always)]
fn client(context: &SockOpsContext, flow: &mut metrics::Flow) {
    let ops = context.ops;
    // SAFETY: a valid context; each field is read by one load at a constant offset. Both addresses are read whichever counts:
    // the compiler would make one load of two in branches, at an offset that is none.
    unsafe {
        let v4 = Address4((&raw const (*ops).local_ip4).read_volatile());
        let words = (&raw const (*ops).local_ip6).cast::<u32>();
        let v6 = Address6([
            words.read_volatile(),
            words.add(1).read_volatile(),
            words.add(2).read_volatile(),
            words.add(3).read_volatile(),
        ]);
        let is_v4 = (&raw const (*ops).family).read_volatile() == AF_INET;
        flow.client = if is_v4 { v4.to_mapped() } else { v6 };
        flow.client_port = Port::new((&raw const (*ops).local_port).read_volatile() as u16);
    }
}

/// TCP's own figures at the end of a connection.
struct Last {
    srtt_us: u32,
    retransmits: u32,
    sent_bytes: u64,
    received_bytes: u64,
}

impl Last {
    #[inline(always)]
    fn read(ops: *const bpf_sock_ops, from: u32, what: What) -> Self {
        // TCP counts what takes a sequence number: the SYN of the client, and each side's FIN, as a byte.
        let (fin_sent, fin_received) = match (what, from) {
            (What::Closed, _) => (1, 1),
            (_, TCP_CLOSE_WAIT) => (0, 1),
            _ => (0, 0),
        };
        // SAFETY: a valid context; each field is read by one load at a constant offset. The kernel's srtt is eight times
        // the microseconds (`tcp_sock.srtt_us`).
        unsafe {
            Self {
                srtt_us: (&raw const (*ops).srtt_us).read_volatile() >> 3,
                retransmits: (&raw const (*ops).total_retrans).read_volatile(),
                sent_bytes: (&raw const (*ops).bytes_acked).read_volatile().saturating_sub(1 + fin_sent),
                received_bytes: (&raw const (*ops).bytes_received)
                    .read_volatile()
                    .saturating_sub(fin_received),
            }
        }
    }
}

#[inline(never)]
fn changed(ops: *mut bpf_sock_ops) {
    let context = &SockOpsContext::new(ops);
    // SAFETY: a valid context; one load each at a constant offset.
    let (from, to) = unsafe {
        let args = (&raw const (*ops).__bindgen_anon_1.args).cast::<u32>();
        (args.read_volatile(), args.add(1).read_volatile())
    };
    if to != TCP_CLOSE || from == TCP_CLOSE {
        return;
    }
    // SAFETY: the helper takes this context.
    let cookie = unsafe { bpf_get_socket_cookie(context.ops.cast()) };
    let Some(found) = record::find(cookie) else { return };
    // SAFETY: a pointer from the map. Release is the only other event that may come at the same time, and it writes but `state`,
    // which is added to atomically: whoever comes second removes the record.
    unsafe {
        let since = (&raw const (*found).established).read_volatile();
        if since == 0 {
            return;
        }
        let released = Connection::ends((&raw const (*found).state).read_volatile()) != 0;
        let what = match (from, released) {
            (TCP_ESTABLISHED | TCP_CLOSE_WAIT, false) => What::Reset,
            (TCP_ESTABLISHED | TCP_CLOSE_WAIT, true) => What::Aborted,
            _ => What::Closed,
        };
        let (row, connect) = (row(found), (&raw const (*found).connect).read_volatile());
        let lasted = ((now_ns() >> SINCE_LOG2) as u32).wrapping_sub(since);
        let last = Last::read(ops, from, what);
        totals::end(
            &row,
            what,
            connect,
            lasted,
            (last.srtt_us, last.retransmits),
            (last.sent_bytes, last.received_bytes),
        );
        flows::tell(cookie, what, |flow| {
            flow.row = row;
            (flow.connect, flow.lasted) = (connect, lasted);
            (flow.srtt_us, flow.retransmits) = (last.srtt_us, last.retransmits);
            (flow.sent_bytes, flow.received_bytes) = (last.sent_bytes, last.received_bytes);
            client(context, flow);
        });
        if Connection::ends(atomic::fetch_add(&raw mut (*found).state, 1)) != 0 {
            record::remove(cookie);
        }
    }
}
