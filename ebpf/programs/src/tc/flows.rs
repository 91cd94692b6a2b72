//! The table of flows: found, made, established. The same for the programs at tc and on the uplink's wire, which share it.
//!
//! ```text
//!            first packet     TCP, SCTP: answered, then acknowledged · else: answered
//!  (nothing) ───────────▶ half-open ───────────────────────────────────────────────▶ established
//!                         CONNTRACK_NEW (the least recently used goes)                    CONNTRACK (stays until it is idle)
//! ```
//! So a flood of new flows displaces only what nobody has answered or acknowledged. Removal of what is idle is the
//! daemon's.
//!
//! Of a direct flow (`mark::DIRECT`) only the answers pass this table: it is established when the backend answers with an
//! acknowledgement, which it does once the client has acknowledged.

use aya_ebpf::{
    helpers::{bpf_get_prandom_u32, bpf_ktime_get_coarse_ns},
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray},
};
use keelson_ebpf_common::{
    drop::Reason,
    layout,
    net::{Address6, Port},
    packet::{Flow, HALF_OPEN_MAX_S, Tuple, has_handshake, mark, protocol, tcp},
};

use crate::{
    drops,
    node::{node4, node6, ports_count, ports_first},
};

#[map]
static CONNTRACK: HashMap<Tuple, Flow> =
    HashMap::with_max_entries(layout::CONNTRACK.max_entries, layout::CONNTRACK.flags);

#[map]
static CONNTRACK_NEW: LruHashMap<Tuple, Flow> =
    LruHashMap::with_max_entries(layout::CONNTRACK_NEW.max_entries, layout::CONNTRACK_NEW.flags);

#[map]
static CONNTRACK_GATE: Array<u32> =
    Array::with_max_entries(layout::CONNTRACK_GATE.max_entries, layout::CONNTRACK_GATE.flags);

/// A flow's entry while it is made, and the key of its answers: one a CPU, off the stack.
struct Draft {
    back: Tuple,
    flow: Flow,
}

#[map]
static DRAFT: PerCpuArray<Draft> = PerCpuArray::with_max_entries(1, 0);

/// `BPF_NOEXIST`.
const NOEXIST: u64 = 1;
/// Ports tried for a translated source before the flow is given up.
const ATTEMPTS: u32 = 8;
const NANOSECONDS: u64 = 1_000_000_000;

/// Which source a flow's packets get.
#[derive(Clone, Copy)]
pub enum Source {
    /// Their own, and their own port unless the answers could not be told from another flow's.
    Own,
    /// The node's address, and a port of the range that is nobody else's; of SCTP, whose ports are part of its checksum, its own
    /// port, and no flow at all where that is somebody else's.
    Node,
    /// The same, but the address that the packets have been given already: the node's in a tunnel, through which the answers come back.
    Given,
    /// Their own, and another node has made them what they become: only the answers come by here.
    Direct,
}

/// Whether there may be any flow at all.
#[inline(always)]
pub fn any() -> bool {
    // SAFETY: a pointer from the map, one load of an aligned word.
    CONNTRACK_GATE.get_ptr(0).is_some_and(|gate| unsafe { gate.read_volatile() } != 0)
}

/// Writes what the packets of a flow become, if it is known.
#[inline(always)]
pub fn find(tuple: &Tuple, tcp_flags: u8, to: &mut Tuple) -> bool {
    if !any() {
        return false;
    }
    let Some(flow) = CONNTRACK.get_ptr_mut(tuple) else {
        let marks = find_half_open(tuple, tcp_flags, to);
        if marks & SETTLED != 0 {
            establish(tuple, to, marks);
        }
        return marks & KNOWN != 0;
    };
    // SAFETY: a pointer from the map. The daemon removes only what was idle for long; a flow that is used again at that
    // very moment may lose a packet or, if the memory is given away at once, send one astray: accepted.
    unsafe {
        if opens(tuple, (*flow).marks, tcp_flags) && forget_if_over(tuple, &*flow) {
            return false;
        }
        touch(flow, tuple, tcp_flags);
        *to = (*flow).becomes;
    }
    true
}

/// Like [`find`], but an onlooker: what an ICMP error is about is no packet of the flow.
#[inline(always)]
pub fn peek(tuple: &Tuple, to: &mut Tuple) -> bool {
    let Some(flow) = CONNTRACK.get_ptr(tuple).or_else(|| CONNTRACK_NEW.get_ptr(tuple)) else { return false };
    // SAFETY: as in `find`.
    *to = unsafe { (*flow).becomes };
    true
}

/// What is known of a half-open flow, beside its marks: that it is there, that it is half-open no more.
const KNOWN: u32 = 1 << 30;
const SETTLED: u32 = 1 << 31;

/// The marks of a half-open flow; 0 for none. Not inlined, as other functions here: each has a stack of its own, and
/// only those that call each other share the 512 bytes.
#[inline(never)]
fn find_half_open(tuple: &Tuple, tcp_flags: u8, to: &mut Tuple) -> u32 {
    let Some(flow) = CONNTRACK_NEW.get_ptr_mut(tuple) else { return 0 };
    // SAFETY: a pointer from the map; an LRU element may be given away while it is read: when thousands of younger ones
    // come between. Accepted.
    let marks = unsafe {
        if now_s().saturating_sub((*flow).seen_s) > HALF_OPEN_MAX_S {
            return 0;
        }
        touch(flow, tuple, tcp_flags);
        *to = (*flow).becomes;
        (*flow).marks
    };
    let is_answer = marks & mark::REVERSE != 0;
    let settled = if !has_handshake(tuple.protocol) {
        is_answer
    } else if is_answer && marks & mark::DIRECT != 0 {
        tcp_flags & (tcp::ACK | tcp::SYN | tcp::RST) == tcp::ACK
    } else if is_answer {
        if let Some(asking) = CONNTRACK_NEW.get_ptr_mut(&to.reversed()) {
            // SAFETY: as above. A mark that is lost to a simultaneous one is made by the next packet.
            unsafe { (*asking).marks |= mark::ANSWERED };
        }
        false
    } else {
        marks & mark::ANSWERED != 0 && tcp_flags & (tcp::ACK | tcp::SYN | tcp::RST) == tcp::ACK
    };
    marks | KNOWN | if settled { SETTLED } else { 0 }
}

/// Moves both directions over. If there is no room they stay where they are.
#[inline(never)]
fn establish(tuple: &Tuple, becomes: &Tuple, marks: u32) {
    let marks = marks & (mark::REVERSE | mark::FIN | mark::RESET | mark::DIRECT);
    let mut flow = Flow { becomes: *becomes, seen_s: now_s(), marks };
    let mut moved = CONNTRACK.insert(tuple, &flow, 0).is_ok();
    // The same variable again, for the sake of the stack: see `Flow::counterpart`.
    let back = becomes.reversed();
    flow.becomes = tuple.reversed();
    flow.marks = (marks ^ mark::REVERSE) & (mark::REVERSE | mark::DIRECT);
    moved = moved && CONNTRACK.insert(&back, &flow, 0).is_ok();
    if !moved {
        let _ = CONNTRACK.remove(tuple);
        drops::count(Reason::ConntrackFull);
        return;
    }
    let _ = CONNTRACK_NEW.remove(tuple);
    let _ = CONNTRACK_NEW.remove(&back);
}

/// Makes room for a new connection whose client has taken the port of one that is over.
#[inline(never)]
fn forget_if_over(tuple: &Tuple, flow: &Flow) -> bool {
    let back = flow.becomes.reversed();
    // SAFETY: as in `find`.
    let other = CONNTRACK.get_ptr(&back).map_or(0, |other| unsafe { (*other).marks });
    let over = (flow.marks | other) & (mark::FIN | mark::RESET) != 0;
    if over {
        let _ = CONNTRACK.remove(tuple);
        let _ = CONNTRACK.remove(&back);
    }
    over
}

/// Notes the end of a direct flow at the direction that asks, whose packets are no key of the table.
#[inline(never)]
pub fn note_end(packet: &Tuple, tcp_flags: u8) {
    let Some(answers) = CONNTRACK.get_ptr(&packet.reversed()) else { return };
    // SAFETY: as in `find`.
    unsafe {
        if (*answers).marks & mark::DIRECT == 0 {
            return;
        }
        let asked = (*answers).becomes.reversed();
        if let Some(flow) = CONNTRACK.get_ptr_mut(&asked) {
            touch(flow, &asked, tcp_flags);
        }
    }
}

/// Forgets a flow, established or not.
#[inline(never)]
pub fn forget(tuple: &Tuple, becomes: &Tuple) {
    let back = becomes.reversed();
    let _ = CONNTRACK.remove(tuple);
    let _ = CONNTRACK.remove(&back);
    let _ = CONNTRACK_NEW.remove(tuple);
    let _ = CONNTRACK_NEW.remove(&back);
}

/// A new flow: `to`, which has the destination already, gets the source. Fails without room.
#[inline(never)]
pub fn make(tuple: &Tuple, to: &mut Tuple, source: Source) -> Result<(), Reason> {
    if claim_source(tuple, to, source) { Ok(()) } else { Err(Reason::NoConntrack) }
}

#[inline(always)]
fn claim_source(tuple: &Tuple, becomes: &mut Tuple, source: Source) -> bool {
    let node = match source {
        Source::Node => node_address(&becomes.destination, node4(), node6()),
        // None, if it has none of this family there.
        Source::Given => node_address(&becomes.destination, becomes.source.0[3], becomes.source.0),
        Source::Own | Source::Direct => Some(becomes.source),
    };
    let Some(node) = node else { return false };
    becomes.source = node;
    let Some(draft) = DRAFT.get_ptr_mut(0) else { return false };
    // SAFETY: a pointer from the map, whose memory is this CPU's, and zeros are a value. Programs at one hook do not interrupt
    // each other.
    let Draft { back, flow } = unsafe { &mut *draft };
    let seen_s = now_s();
    let direct = if let Source::Direct = source { mark::DIRECT } else { 0 };
    (flow.becomes, flow.seen_s, flow.marks) = (tuple.reversed(), seen_s, mark::REVERSE | direct);
    *back = becomes.reversed();
    let mut free = false;
    let keeps_port = direct != 0 || tuple.protocol == protocol::SCTP;
    for attempt in 0..ATTEMPTS {
        if attempt > 0 && keeps_port {
            break;
        }
        if !keeps_port && (attempt > 0 || matches!(source, Source::Node | Source::Given)) {
            let Some(port) = any_port() else { return false };
            (becomes.source_port, back.destination_port) = (port, port);
        }
        if claim(back, flow) {
            free = true;
            break;
        }
    }
    (flow.becomes, flow.marks) = (*becomes, direct);
    if !free || CONNTRACK_NEW.insert(tuple, &*flow, 0).is_err() {
        return false;
    }
    open_gate();
    true
}

/// Takes the key of a flow's answers, unless they could not be told from another flow's.
#[inline(always)]
fn claim(key: &Tuple, answers: &Flow) -> bool {
    // SAFETY: as in `find`.
    if let Some(other) = CONNTRACK.get_ptr(key)
        && unsafe { (*other).becomes } != answers.becomes
    {
        return false;
    }
    if CONNTRACK_NEW.insert(key, answers, NOEXIST).is_ok() {
        return true;
    }
    // SAFETY: as in `find_half_open`.
    let ours = CONNTRACK_NEW.get_ptr(key).is_some_and(|other| unsafe {
        (*other).becomes == answers.becomes || answers.seen_s.wrapping_sub((*other).seen_s) > HALF_OPEN_MAX_S
    });
    ours && CONNTRACK_NEW.insert(key, answers, 0).is_ok()
}

/// That of two addresses which is of the family of another, if there is one.
#[inline(always)]
fn node_address(like: &Address6, v4: u32, v6: [u32; 4]) -> Option<Address6> {
    if like.mapped().is_some() {
        return if v4 == 0 { None } else { Some(keelson_ebpf_common::net::Address4(v4).to_mapped()) };
    }
    if v6 == [0; 4] { None } else { Some(Address6(v6)) }
}

#[inline(always)]
fn any_port() -> Option<Port> {
    let count = ports_count();
    if count == 0 {
        return None;
    }
    // SAFETY: takes no pointer.
    let random = unsafe { bpf_get_prandom_u32() };
    Some(Port::new((ports_first() + (u64::from(random) * u64::from(count) >> 32) as u32) as u16))
}

/// After the flow is in the table: the daemon shuts the gate, and then looks once more whether the table is empty.
#[inline(always)]
fn open_gate() {
    if let Some(gate) = CONNTRACK_GATE.get_ptr_mut(0) {
        // SAFETY: a pointer from the map, aligned words; written only when it changes, as every CPU reads it.
        unsafe {
            if gate.read_volatile() == 0 {
                gate.write_volatile(1);
            }
        }
    }
}

/// Notes the packet at its flow; writes only what changes.
///
/// # Safety
/// `flow` is a value of a map.
#[inline(always)]
unsafe fn touch(flow: *mut Flow, tuple: &Tuple, tcp_flags: u8) {
    // SAFETY: the caller's promise; words, each stored at once.
    unsafe {
        let now_s = now_s();
        if (*flow).seen_s != now_s {
            (*flow).seen_s = now_s;
        }
        if has_handshake(tuple.protocol) && tcp_flags & (tcp::FIN | tcp::RST) != 0 {
            let fin = if tcp_flags & tcp::FIN != 0 { mark::FIN } else { 0 };
            let reset = if tcp_flags & tcp::RST != 0 { mark::RESET } else { 0 };
            (*flow).marks |= fin | reset;
        }
    }
}

/// Whether a packet asks for a new connection.
#[inline(always)]
fn opens(tuple: &Tuple, marks: u32, tcp_flags: u8) -> bool {
    has_handshake(tuple.protocol)
        && marks & mark::REVERSE == 0
        && tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN
}

/// `CLOCK_MONOTONIC` in seconds, as of the last tick.
#[inline(always)]
pub fn now_s() -> u32 {
    // SAFETY: takes no pointer.
    (unsafe { bpf_ktime_get_coarse_ns() } / NANOSECONDS) as u32
}
