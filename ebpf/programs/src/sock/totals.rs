//! The rows of totals: found or made when a connection ends, never on the way of one that begins.

use keelson_ebpf_common::{
    drop::Reason,
    metrics::{BUCKETS, Row, Totals, What, bucket},
};

use crate::{atomic, drops, maps::TOTALS};

/// `BPF_NOEXIST`: of two CPUs that make a row, one finds the other's.
const NOEXIST: u64 = 1;

/// What a row begins with: 816 bytes are too many for a program's stack.
static NOTHING: Totals = Totals::NONE;

/// Adds to a row, or, when there is no room for it, to that of all others.
#[inline(always)]
pub fn add(row: &Row, add: impl FnOnce(*mut Totals)) {
    if let Some(totals) = find(row) {
        add(totals);
    }
}

#[inline(always)]
fn find(row: &Row) -> Option<*mut Totals> {
    if let Some(totals) = TOTALS.get_ptr_mut(row) {
        return Some(totals);
    }
    // It fails when another CPU was faster, which is as good, or when there is no room.
    let _ = TOTALS.insert(row, &NOTHING, NOEXIST);
    if let Some(totals) = TOTALS.get_ptr_mut(row) {
        return Some(totals);
    }
    drops::count(Reason::TotalsFull);
    TOTALS.get_ptr_mut(&Row::OTHER)
}

/// Counts a connection that was established and has ended.
#[inline(always)]
pub fn end(
    row: &Row,
    what: What,
    connect: u32,
    lasted: u32,
    (srtt_us, retransmits): (u32, u32),
    (sent_bytes, received_bytes): (u64, u64),
) {
    let Some(totals) = find(row) else { return };
    let bucket = atomic::unknown(bucket(connect).into()) as usize;
    // SAFETY: a pointer from the map; the bucket is below their number, which the verifier sees by the comparison.
    unsafe {
        atomic::add(&raw mut (*totals).ended, 1);
        match what {
            What::Reset => atomic::add(&raw mut (*totals).resets, 1),
            What::Aborted => atomic::add(&raw mut (*totals).aborts, 1),
            _ => {}
        }
        if retransmits != 0 {
            atomic::add(&raw mut (*totals).retransmits, u64::from(retransmits));
        }
        atomic::add(&raw mut (*totals).sent_bytes, sent_bytes);
        atomic::add(&raw mut (*totals).received_bytes, received_bytes);
        atomic::add(&raw mut (*totals).srtt_us, u64::from(srtt_us));
        atomic::add(&raw mut (*totals).lasted, u64::from(lasted));
        atomic::add(&raw mut (*totals).connect, u64::from(connect));
        if bucket < BUCKETS as usize {
            atomic::add((&raw mut (*totals).histogram).cast::<u64>().add(bucket), 1);
        }
    }
}
