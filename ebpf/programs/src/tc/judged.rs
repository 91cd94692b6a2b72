//! Connections of policed pods that were let pass: found, made, established. As [`crate::flows`], but one entry for both
//! directions, and nothing becomes of a packet.
//!
//! Half-open ones are where the least recently used goes; one that was answered, and of TCP acknowledged, is moved to where it
//! stays until it is idle. Removal of what is idle is the daemon's.

use keelson_ebpf_common::{
    drop::Reason,
    packet::{HALF_OPEN_MAX_S, Tuple, protocol},
    policy::{Judged, mark},
};

use crate::{
    drops,
    flows::now_s,
    state::{JUDGED, JUDGED_NEW},
    transport::tcp,
};

/// What is known of a packet's connection.
pub const UNKNOWN: u32 = 0;
/// It was let pass, and nothing has changed since.
pub const PASSES: u32 = 1;
/// It was let pass, by policies that are others by now; its first packet came from where this one does.
pub const STALE: u32 = 2;
/// As above, but from where this one goes.
pub const STALE_BACK: u32 = 3;

/// Looks a packet's connection up by its ordered tuple, and notes the packet there. `swapped` as the ordering said.
///
/// A number, not an enum: see `transport::Passage` for what the verifier thinks of those.
#[inline(never)]
pub fn find(key: &Tuple, swapped: bool, tcp_flags: u8, epoch: u32) -> u32 {
    let (found, established) = match JUDGED.get_ptr_mut(key) {
        Some(found) => (found, true),
        None => match JUDGED_NEW.get_ptr_mut(key) {
            Some(found) => (found, false),
            None => return UNKNOWN,
        },
    };
    let now_s = now_s();
    // SAFETY: a pointer from a map; words, each loaded and stored at once. As in `flows::find`: an element that is given away
    // meanwhile costs a packet, or notes one too many.
    unsafe {
        let marks = (*found).marks;
        if !established && now_s.saturating_sub((*found).seen_s) > HALF_OPEN_MAX_S {
            return UNKNOWN;
        }
        let is_answer = (marks & mark::SWAPPED != 0) != swapped;
        if (*found).epoch != epoch {
            return if is_answer { STALE_BACK } else { STALE };
        }
        if (*found).seen_s != now_s {
            (*found).seen_s = now_s;
        }
        let more = marks | seen(key.protocol, tcp_flags, is_answer);
        if more != marks {
            (*found).marks = more;
        }
        if !established && is_settled(key.protocol, more, tcp_flags, is_answer) {
            establish(key, &Judged { epoch, seen_s: now_s, marks: more });
        }
    }
    PASSES
}

/// As [`find`], but an onlooker. What is stale may be no more: then the next packet says it.
#[inline(always)]
pub fn look(key: &Tuple, epoch: u32) -> bool {
    let Some(found) = JUDGED.get_ptr(key).or_else(|| JUDGED_NEW.get_ptr(key)) else { return false };
    // SAFETY: as in `find`.
    unsafe { (*found).epoch == epoch }
}

/// What a packet says of its connection.
#[inline(always)]
fn seen(protocol: u8, tcp_flags: u8, is_answer: bool) -> u32 {
    let mut marks = if is_answer { mark::ANSWERED } else { 0 };
    if protocol == protocol::TCP {
        if tcp_flags & tcp::FIN != 0 {
            marks |= if is_answer { mark::FIN_BACK } else { mark::FIN };
        }
        if tcp_flags & tcp::RST != 0 {
            marks |= mark::RESET;
        }
    }
    marks
}

/// Whether a half-open connection is half-open no more.
#[inline(always)]
fn is_settled(protocol: u8, marks: u32, tcp_flags: u8, is_answer: bool) -> bool {
    if protocol != protocol::TCP {
        return is_answer;
    }
    !is_answer && marks & mark::ANSWERED != 0 && tcp_flags & (tcp::ACK | tcp::SYN | tcp::RST) == tcp::ACK
}

/// If there is no room it stays where it is.
#[inline(never)]
fn establish(key: &Tuple, connection: &Judged) {
    if JUDGED.insert(key, connection, 0).is_ok() {
        let _ = JUDGED_NEW.remove(key);
    } else {
        drops::count(Reason::ConntrackFull);
    }
}

/// A connection is let pass. Whether there was room.
#[inline(never)]
pub fn put(key: &Tuple, swapped: bool, epoch: u32) -> bool {
    let marks = if swapped { mark::SWAPPED } else { 0 };
    let connection = Judged { epoch, seen_s: now_s(), marks };
    // One that lasts is found first: it is judged anew in its place, unless this is another's first packet.
    if let Some(lasting) = JUDGED.get_ptr_mut(key) {
        // SAFETY: as in `find`.
        unsafe {
            let old = (*lasting).marks;
            if old & mark::SWAPPED == marks && old & (mark::FIN | mark::FIN_BACK | mark::RESET) == 0 {
                (*lasting).epoch = epoch;
                (*lasting).seen_s = connection.seen_s;
                return true;
            }
        }
        let _ = JUDGED.remove(key);
    }
    JUDGED_NEW.insert(key, &connection, 0).is_ok()
}
